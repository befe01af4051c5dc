//! What is wrong with a configuration file, with the line and the key.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The file cannot be used. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no text that a person has written.
    #[error("the configuration file {path} is larger than {most} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest.
        most: u64,
    },
    /// Something in it is wrong.
    #[error("{place}: {problem}")]
    At {
        /// Where.
        place: Place,
        /// What.
        problem: Problem,
    },
}

/// A line of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What can be wrong at a place.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Neither TOML nor JSON can be read from it.
    #[error("{0}")]
    Syntax(String),
    /// A key that nobody knows.
    #[error("unknown key {key:?}: known here are {known}")]
    Unknown {
        /// The key with those above it.
        key: String,
        /// Those that are known beside it.
        known: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A value that the key does not take.
    #[error("invalid value of {key}: {found}, and it takes {accepted}")]
    Value {
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What it takes.
        accepted: String,
    },
    /// Two keys that cannot both hold, or one that lacks another.
    #[error("{key}: {why}")]
    Contradiction {
        /// The key.
        key: String,
        /// With what, and why.
        why: String,
    },
    /// Two keys of one name.
    #[error("{0} is there twice")]
    Twice(String),
    /// What is declared cannot be had on this host now.
    #[error("{what}: {why}")]
    Declared {
        /// `network blue` or `endpoint web`.
        what: String,
        /// Why.
        why: String,
        /// What to do.
        advice: String,
    },
}

impl Error {
    /// What the operator can do.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                Some("see that it is there and readable, or give another with -c".to_owned())
            }
            Self::TooLarge { .. } => Some("is it the right file?".to_owned()),
            Self::At { problem: Problem::Unknown { nearest, .. }, .. } => {
                nearest.as_ref().map(|name| format!("did you mean {name}?"))
            }
            Self::At { problem: Problem::Declared { advice, .. }, .. } => Some(advice.clone()),
            Self::At { .. } => Some("nothing was changed: put it right and try again".to_owned()),
        }
    }
}
