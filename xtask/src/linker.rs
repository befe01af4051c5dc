//! bpf-linker: what turns the compiler's bitcode into an object for the kernel.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;
use crate::lacking::Lacking;
use crate::toolchain::LLVM;
use crate::workspace::Workspace;

const VERSION: &str = "0.13.0";

/// The folder of the LLVM that bpf-linker is built with, and of its tools.
pub(crate) fn llvm_prefix() -> String {
    format!("/usr/lib/llvm-{LLVM}")
}

/// A tool of that LLVM.
pub(crate) fn llvm_tool(name: &str) -> Result<Command> {
    tool(&Path::new(&llvm_prefix()).join("bin").join(format!("llvm-{name}")))
}

fn tool(program: &Path) -> Result<Command> {
    if !program.is_file() {
        return Err(Lacking(format!(
            "{} is missing (Debian package llvm-{LLVM}).\n\
             run: cargo xtask setup; if it finds the package installed: apt-get install --reinstall llvm-{LLVM}",
            program.display()
        ))
        .into());
    }
    Ok(Command::new(program))
}

/// Whether the version that we want is in the target folder and starts.
pub(crate) fn is_there(workspace: &Workspace) -> bool {
    command::output(Command::new(workspace.linker()).arg("--version"))
        .is_ok_and(|version| version.trim() == format!("bpf-linker {VERSION}"))
}

/// Builds it into the target folder, which takes about half a minute.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    println!("setup: building bpf-linker {VERSION} (about half a minute)");
    let feature = format!("llvm-{LLVM}");
    command::run(
        command::cargo()
            .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--no-default-features"])
            .args(["--features", &feature, "--root"])
            .arg(workspace.tools())
            .env("LLVM_PREFIX", llvm_prefix()),
    )?;
    if !is_there(workspace) {
        bail!("bpf-linker was built, but {} does not start", workspace.linker().display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tool_is_named_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let error = tool(&folder.path().join("llvm-strip")).unwrap_err();
        assert!(error.is::<Lacking>());
        let text = error.to_string();
        assert!(text.contains("llvm-strip is missing (Debian package llvm-22)"), "{text}");
    }
}
