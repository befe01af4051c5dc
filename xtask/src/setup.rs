//! `setup`: all that building and testing needs.

use std::process::Command;

use anyhow::{Context, Result};

use crate::lacking::Lacking;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use crate::{command, linker, packages};

/// Installs what is missing, and says so in one line when nothing is.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::find()?;
    let (toolchain, installed) = install_missing(
        &workspace,
        &[packages::BUILD, packages::PEERS, packages::VM, packages::FUZZ].concat(),
    )?;
    let verdict = if installed { "done" } else { "all is there" };
    println!("setup: {verdict}; the BPF target is built by {toolchain}");
    Ok(())
}

/// What building alone needs: quiet when it is all there.
pub(crate) fn for_building(workspace: &Workspace) -> Result<Toolchain> {
    Ok(install_missing(workspace, packages::BUILD)?.0)
}

/// What the fuzzer is linked with.
pub(crate) fn for_fuzzing() -> Result<()> {
    packages::restore_policy().context("a former setup was cut off")?;
    let missing = packages::missing(packages::FUZZ)?;
    if missing.is_empty() { Ok(()) } else { packages::install(&missing) }
}

/// What the bench compares with, and what its containers run.
pub(crate) fn for_benchmarking() -> Result<()> {
    packages::restore_policy().context("a former setup was cut off")?;
    let there = |tool: &str| command::output(Command::new(tool).arg("--version")).is_ok();
    let mut missing = packages::missing(packages::BENCH)?;
    // Debian's would push out another one that somebody works with.
    if !there("dockerd") {
        missing.push(packages::DOCKER);
    }
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    if there("docker") { Ok(()) } else { packages::install(&[packages::DOCKER_CLIENT]) }
}

/// The toolchain for the BPF target, and whether anything had to be installed.
fn install_missing(workspace: &Workspace, wanted: &[&'static str]) -> Result<(Toolchain, bool)> {
    packages::restore_policy().context("a former setup was cut off")?;
    let found = Toolchain::find();
    let mut missing = packages::missing(wanted)?;
    if found.is_none() {
        missing.extend(packages::missing(packages::BPF_TOOLCHAIN)?);
    }
    let mut installed = !missing.is_empty();
    if installed {
        packages::install(&missing)?;
    }
    installed |= install_components()?;
    if !linker::is_there(workspace) {
        linker::install(workspace)?;
        installed = true;
    }
    let toolchain = found.or_else(Toolchain::find).ok_or_else(no_toolchain)?;
    Ok((toolchain, installed))
}

/// rustfmt and clippy for the host's toolchain.
fn install_components() -> Result<bool> {
    let there = |tool: &str| command::output(command::cargo().args([tool, "--version"])).is_ok();
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .iter()
        .filter(|(tool, _)| !there(tool))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let add = command::run(Command::new("rustup").args(["component", "add"]).args(&missing));
    add.map_err(|error| lacking_components(&missing, &error))?;
    Ok(true)
}

fn lacking_components(missing: &[&str], error: &anyhow::Error) -> anyhow::Error {
    let missing = missing.join(" ");
    Lacking(format!(
        "this cargo lacks {missing}, and adding it did not work: {error:#}\n\
         run: rustup component add {missing}"
    ))
    .into()
}

fn no_toolchain() -> anyhow::Error {
    Lacking(
        "no toolchain here builds for the BPF target, not even after installing Debian's rustc-web.\n\
         run: rustup toolchain install nightly --profile minimal --component rust-src,clippy"
            .into(),
    )
    .into()
}
