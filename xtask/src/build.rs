//! `build`: the object for the kernel, then `netdp` with it inside.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{command, object, setup};

/// Options of `build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build netdp optimised (the programs for the kernel always are)
    #[arg(long)]
    release: bool,
}

/// Builds all, after installing what building needs.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let toolchain = setup::for_building(&workspace)?;
    object::build(&workspace, &toolchain)?;
    netdp(&workspace, args.release)
}

/// Everything at its final quality: what `test` and `demo` run.
pub(crate) fn release() -> Result<()> {
    run(&Args { release: true })
}

fn netdp(workspace: &Workspace, release: bool) -> Result<()> {
    let profile = if release { "release" } else { "debug" };
    let flags: &[&str] = if release { &["--release"] } else { &[] };
    command::run(
        command::cargo().current_dir(&workspace.root).args(["build", "--locked", "-p", "netdp"]).args(flags),
    )?;
    println!("build: {}", workspace.short(&workspace.netdp(profile)).display());
    Ok(())
}
