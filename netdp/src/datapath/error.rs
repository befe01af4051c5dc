//! What can go wrong between us and the kernel's BPF.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::ProgramError;

use super::hook::Hook;
use super::refusal::{Refusal, refusal};

/// An operation on programs, maps or links failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object was refused before any program was looked at.
    #[error("the kernel refuses the maps of the datapath: see `netdp check` for what it lacks")]
    Object(#[source] Box<aya::EbpfError>),
    /// The verifier, or the lack of a helper.
    #[error("the kernel refuses the program {name}: {refusal}")]
    Program {
        /// The program.
        name: &'static str,
        /// Why. The verifier's log is not a part of it: that is for `NETDP_LOG=debug`.
        refusal: Refusal,
    },
    /// A program that is loaded cannot be opened or attached.
    #[error("cannot use the program {name}")]
    Use {
        /// The program.
        name: &'static str,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// The object does not have what this crate expects of it: it was not built by `cargo xtask build`.
    #[error("the embedded object has no program or map {name}: build netdp with `cargo xtask build`")]
    Missing {
        /// What was looked for.
        name: &'static str,
    },
    /// The datapath that runs is of a release that has no such map.
    #[error("the datapath that runs was loaded by an earlier netdp, without map {name}: run netdp up")]
    Earlier {
        /// The map.
        name: &'static str,
    },
    /// An operation on a map.
    #[error("map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// The kernel's answer.
        source: Box<MapError>,
    },
    /// A map is full.
    #[error("map {name} is full ({max} entries): remove networks, endpoints or published ports first")]
    Full {
        /// The map.
        name: &'static str,
        /// How many entries it has.
        max: u32,
    },
    /// Flows that should end were written anew each time.
    #[error("flows to what was removed do not end: packets begin them again and again")]
    FlowsRemain,
    /// Pinned maps of another version.
    #[error("{path} holds the datapath of another version of netdp ({found}; this one has {wanted})")]
    Schema {
        /// The bpffs.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What was expected.
        wanted: String,
    },
    /// A program could not be attached.
    #[error("cannot attach {hook} to {interface}")]
    Attach {
        /// The hook.
        hook: Hook,
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// A pin could not be made, read or removed.
    #[error("{action} {path}")]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The reservation of published ports could not be attached.
    #[error("cannot reserve published ports on the control group root")]
    Reserve(#[source] io::Error),
}

impl Error {
    pub(super) fn map(name: &'static str, source: MapError) -> Self {
        Self::Map { name, source: Box::new(source) }
    }

    pub(super) fn program(name: &'static str, source: ProgramError) -> Self {
        match source {
            ProgramError::LoadError { ref verifier_log, .. } => {
                tracing::debug!("the verifier on {name}:\n{verifier_log}");
                Self::Program { name, refusal: refusal(&source) }
            }
            other => Self::Use { name, source: Box::new(other) },
        }
    }

    /// The kernel cannot do what is asked of it, and another one could.
    pub fn is_lack(&self) -> bool {
        match self {
            Self::Program { refusal, .. } => refusal.is_lack(),
            Self::Pin { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Object(_)
            | Self::Use { .. }
            | Self::Missing { .. }
            | Self::Earlier { .. }
            | Self::Map { .. }
            | Self::Full { .. }
            | Self::Schema { .. }
            | Self::Attach { .. }
            | Self::Reserve(_)
            | Self::FlowsRemain => false,
        }
    }

    pub(super) fn pin(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Pin { action, path: path.into(), source }
    }
}
