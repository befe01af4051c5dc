//! Why names cannot be served.

use std::io;
use std::path::PathBuf;

use crate::datapath;
use crate::host::lock;

/// The resolver cannot begin or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket.
    #[error("the resolver cannot {what}: {cause}")]
    Socket {
        /// What it was about to do.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The way from port 53 of the gateways.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// It ended at once.
    #[error("the resolver did not begin to serve; {log} says why")]
    NotServing {
        /// What it wrote.
        log: PathBuf,
    },
    /// The one before it does not end.
    #[error("the resolver of this host (process {0}) does not end")]
    Stays(u32),
}

impl Error {
    /// For `map_err`.
    pub fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Socket { what, cause }
    }

    /// What the operator can do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Stays(_) => Some("end it with SIGKILL and try again: only names depend on it"),
            Self::Datapath(datapath::Error::Earlier { .. }) => Some("run netdp up"),
            _ => None,
        }
    }

    /// The kernel cannot do it, and another one could.
    pub fn is_lack(&self) -> bool {
        matches!(self, Self::Datapath(error) if error.is_lack())
    }
}
