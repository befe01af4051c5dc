//! How a run can end without a table.

use std::fmt;
use std::process::ExitCode;

/// Why there are no results. None of what was measured until then is shown.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Somebody wanted it to end.
    Interrupted,
    /// The machine lacks what was asked for by name.
    Lacking(String),
    /// It went wrong.
    Failed(String),
}

impl Ending {
    /// The contract's codes, and the shell's for a run that was interrupted.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::from(130),
            Self::Lacking(_) => ExitCode::from(3),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => write!(f, "interrupted: all is taken away, and nothing was reported"),
            Self::Lacking(what) | Self::Failed(what) => write!(f, "{what}"),
        }
    }
}
