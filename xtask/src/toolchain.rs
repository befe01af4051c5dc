//! A Rust toolchain that can build for the BPF target, which has no `core` of its own to download.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The target of the programs: little-endian BPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The LLVM that bpf-linker is built with: it reads the bitcode of this major version and of older ones.
pub(crate) const LLVM: u32 = 22;
/// The oldest compiler (1.x) that takes the workspace.
const OLDEST_RUSTC: u32 = 95;
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A toolchain with the source of `core`, which cargo then builds itself (`-Z build-std`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    way: Way,
    version: String,
    /// Where the source of `core` lies, below the `library` folder.
    pub(crate) source: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A nightly of rustup with the component rust-src.
    Nightly,
    /// Debian's rustc-web, cargo-web and rust-web-src, told to accept unstable flags.
    Debian,
}

impl Toolchain {
    /// The first way that works on this machine.
    pub(crate) fn find() -> Option<Self> {
        Self::probe(Way::Nightly).or_else(|| Self::probe(Way::Debian))
    }

    fn probe(way: Way) -> Option<Self> {
        let verbose = command::output(way.rustc().arg("-vV")).ok()?;
        let version = usable(&verbose)?;
        let sysroot = command::output(way.rustc().args(["--print", "sysroot"])).ok()?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
        // Debian's is a symbolic link, and the compiler names the files by where they really are.
        let source = source.canonicalize().ok()?;
        source.join("library/core/src/lib.rs").is_file().then_some(Self { way, version, source })
    }

    /// Its cargo, ready for `-Z build-std`.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self.way {
            Way::Nightly => rustup_run("cargo"),
            Way::Debian => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CARGO_BUILD_TARGET");
        cargo
    }

    /// Whether it has clippy.
    pub(crate) fn has_clippy(&self) -> bool {
        match self.way {
            Way::Nightly => command::output(rustup_run("cargo-clippy").arg("--version")).is_ok(),
            // Debian's clippy, where there is one, is of its other, older rustc.
            Way::Debian => false,
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Nightly => write!(f, "rustup's nightly with rust-src (rustc {})", self.version),
            Way::Debian => write!(f, "Debian's rustc-web with rust-web-src (rustc {})", self.version),
        }
    }
}

impl Way {
    fn rustc(self) -> Command {
        match self {
            Self::Nightly => rustup_run("rustc"),
            Self::Debian => Command::new(DEBIAN_RUSTC),
        }
    }
}

fn rustup_run(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]).env_remove("RUSTC");
    command
}

/// The release that `rustc -vV` reports, if the workspace and bpf-linker can take it.
fn usable(verbose: &str) -> Option<String> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let release = field("release")?;
    let minor: u32 = release.strip_prefix("1.")?.split('.').next()?.parse().ok()?;
    let llvm: u32 = field("LLVM version")?.split('.').next()?.parse().ok()?;
    (minor >= OLDEST_RUSTC && llvm <= LLVM).then(|| release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbose(release: &str, llvm: &str) -> String {
        format!("rustc {release} (abc 2026-01-01)\nbinary: rustc\nrelease: {release}\nLLVM version: {llvm}\n")
    }

    #[test]
    fn a_compiler_must_be_new_enough_and_its_llvm_readable_by_the_linker() {
        assert_eq!(usable(&verbose("1.97.0-nightly", "22.1.4")).as_deref(), Some("1.97.0-nightly"));
        assert_eq!(usable(&verbose("1.96.0", "22.1.8")).as_deref(), Some("1.96.0"));
        assert_eq!(usable(&verbose("1.63.0", "14.0.6")), None);
        assert_eq!(usable(&verbose("1.99.0-nightly", "23.0.1")), None);
        assert_eq!(usable(""), None);
    }
}
