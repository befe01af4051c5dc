//! Why a process cannot be started or dealt with.

use std::io;
use std::path::{Path, PathBuf};

use crate::names::{Id, Name, Unresolved};

/// What went wrong with a process. Nothing was started, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word names nothing, or too much.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// Two options that contradict each other, in Docker's words.
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    /// A process without a network is to have one.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    NoneWithOthers,
    /// The network of somebody else together with further ones.
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    SharedWithOthers,
    /// Nobody could resolve an alias there.
    #[error("network-scoped alias is supported only for containers in user defined networks")]
    Alias,
    /// Twice the same network.
    #[error("network {0} is named twice")]
    NetworkTwice(String),
    /// Another process or endpoint has the name.
    #[error("the name {name} is already in use by {id}")]
    NameTaken {
        /// The name.
        name: Name,
        /// Beginning of the other's id.
        id: String,
    },
    /// The network of somebody who has ended.
    #[error("cannot join network of a non running container: {0}")]
    JoinEnded(String),
    /// A link to somebody who has ended or is not on the default network.
    #[error("cannot link to {target} as {alias}: {why}")]
    Link {
        /// The other.
        target: String,
        /// The name for it.
        alias: String,
        /// Why not.
        why: &'static str,
    },
    /// A link by a resolver that is not there.
    #[error("network {0} has no gateway of netdp's, and so nobody there who could resolve --link")]
    NoNames(Name),
    /// There is no address to put in.
    #[error("--add-host {0}:host-gateway: the default network has no address on this host")]
    NoHostGateway(String),
    /// The namespaces or files of the process cannot be made.
    #[error("cannot prepare the process: {0}")]
    Prepare(String),
    /// The command cannot be executed; the process's own exit code says which way.
    #[error("cannot execute {command}: {cause}")]
    Execute {
        /// The command.
        command: String,
        /// What the kernel said.
        cause: String,
        /// 127 for one that is not there, 126 for one that cannot be executed.
        code: u8,
    },
    /// A directory, a user or a group that is not there.
    #[error("{0}")]
    Setting(String),
    /// It runs, and must not.
    #[error("cannot remove {0}: it is running")]
    Runs(Name),
    /// It does not run.
    #[error("{0} is not running")]
    Ended(Name),
    /// It has made mounts of its own.
    #[error(
        "{0} has left the mount namespace that netdp gave it, and nothing is started where it has gone: netdp run --network container:{0} shares its network alone"
    )]
    Elsewhere(Name),
    /// An endpoint in which netdp started nothing.
    #[error("{0} was attached, not run: netdp has started no process in it")]
    Attached(Name),
    /// Its output went to a terminal.
    #[error("{0} has no log: it was not started with -d, and wrote to where it was started from")]
    NoLog(Name),
    /// It has been told to end, killed, and is there.
    #[error("{0} does not end")]
    Stays(Name),
    /// A file of the run directory or a log.
    #[error("cannot {what} {path}")]
    File {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A record that cannot be written down.
    #[error("cannot write a record of the process")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// A name that somebody else has.
    pub fn taken(name: &Name, by: &Id) -> Self {
        Self::NameTaken { name: name.clone(), id: by.short(super::SHORT).to_owned() }
    }

    /// A failed file operation, for `map_err`.
    pub fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// What the operator can do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NameTaken { .. } => {
                Some("choose another --name, or netdp rm (or detach) the other one first")
            }
            Self::Runs(_) => Some("netdp stop it first, or remove it with -f"),
            Self::Attached(_) => Some("netdp detach takes it off its networks"),
            Self::Ended(_) => Some("see netdp ps -a"),
            Self::NoHostGateway(_) => Some("name an address instead of host-gateway"),
            Self::NoNames(_) => Some("join a bridge network, and give --link there"),
            _ => None,
        }
    }

    /// The exit code: as a shell has it for a command that cannot be executed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Execute { code, .. } => *code,
            _ => 1,
        }
    }
}
