//! `bench`: the arena of `tests/bench`, built with optimisation, in this process's place.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;

use crate::lacking::Lacking;
use crate::workspace::Workspace;
use crate::{build, command, object, packages, setup};

#[path = "../../tests/bench/options.rs"]
mod options;
#[path = "../../tests/bench/readme.rs"]
mod readme;
#[path = "../../tests/bench/unit.rs"]
mod unit;

#[cfg(test)]
mod tests;

use options::ArmName;
pub(crate) use options::Options;

/// The examples of netdp-ebpf that `--micro` measures with.
const MICRO: [&str; 2] = ["micro", "helpers"];

/// Sets up, builds, and becomes the arena: what it says and how it ends is what this command says, and Ctrl-C is for it alone.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    if let Some(from) = &options.from {
        return update_readme(&workspace, from);
    }
    if !packages::is_root()? {
        return Err(Lacking(
            "the bench makes namespaces and loads programs into the kernel, which only root may do.\n\
             run: sudo -E env \"PATH=$PATH\" cargo xtask bench"
                .into(),
        )
        .into());
    }
    setup::run()?;
    if !options.micro && !options.scale {
        get_docker(options)?;
    }
    build::release()?;
    let mut arena = Command::new(arena(&workspace)?);
    arena.args(std::env::args_os().skip(2)).env("NETDP_BIN", workspace.netdp("release"));
    if options.micro {
        arena.env("NETDP_MICRO", objects(&workspace)?);
    }
    Err(arena.exec()).context("cannot start the arena")
}

fn update_readme(workspace: &Workspace, from: &Path) -> Result<()> {
    let updated = readme::update(&workspace.root.join("README.md"), from).map_err(Error::msg)?;
    println!("README.md: updated from {}", updated.join(", "));
    Ok(())
}

/// Without it the other arms can still be measured, unless it was asked for by name.
fn get_docker(options: &Options) -> Result<()> {
    let named = options.arms.iter().any(|arm| matches!(arm, ArmName::Docker | ArmName::DockerNoproxy));
    match setup::for_benchmarking() {
        Err(error) if !named && error.is::<Lacking>() => {
            eprintln!("bench: {error:#}");
            Ok(())
        }
        other => other,
    }
}

/// Builds the programs that measure the others, and says in which folder they are.
fn objects(workspace: &Workspace) -> Result<PathBuf> {
    let toolchain = setup::for_building(workspace)?;
    let mut folder = None;
    for name in MICRO {
        folder = object::build_example(workspace, &toolchain, name)?.parent().map(PathBuf::from);
    }
    folder.context("the objects have no folder")
}

/// Builds the arena, and says where it is.
fn arena(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.current_dir(&workspace.root).args(["bench", "--locked", "-p", "tests", "--bench", "arena"]);
    cargo.args(["--no-run", "--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    println!("$ {}", command::line(&cargo));
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let lines = BufReader::new(stdout).lines().map_while(std::result::Result::ok);
    let built = lines.filter_map(|line| executable(&serde_json::from_str(&line).ok()?)).last();
    ensure!(child.wait()?.success(), "the arena was not built");
    built.context("cargo did not say where the arena is")
}

fn executable(message: &Value) -> Option<PathBuf> {
    (message["target"]["name"] == "arena").then(|| message["executable"].as_str().map(PathBuf::from))?
}
