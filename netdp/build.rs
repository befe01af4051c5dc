//! Copies the object for the kernel to where `include_bytes_aligned!` finds it.
//!
//! The object itself is built by `cargo xtask build`: it needs another toolchain and target, and a nested cargo
//! here would hide its progress and rebuild it for every profile.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const VARIABLE: &str = "NETDP_BPF_OBJECT";
const OBJECT: &str = "bpf/netdp.bpf.o";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    match copy() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn copy() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let object = find(&out_dir)?;
    println!("cargo::rerun-if-changed={}", object.display());
    fs::copy(&object, out_dir.join("netdp.bpf.o"))
        .map_err(|error| format!("cannot copy {}: {error}; run `cargo xtask build`", object.display()))?;
    Ok(())
}

/// The object named by the environment, else the one in the target folder that we are building into.
fn find(out_dir: &Path) -> Result<PathBuf, String> {
    if let Some(named) = env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let built = out_dir.ancestors().map(|folder| folder.join(OBJECT)).find(|object| object.is_file());
    built.ok_or_else(|| "the programs for the kernel are not built: run `cargo xtask build`".to_owned())
}
