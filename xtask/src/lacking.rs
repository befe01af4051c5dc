//! The error that means "this machine lacks something".

use std::fmt;

/// What the machine lacks and the command that mends it; exit code 3 by the contract.
#[derive(Debug)]
pub(crate) struct Lacking(pub(crate) String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}
