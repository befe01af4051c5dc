//! `lint`: what a reviewer should not have to look for.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::length::Lengths;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use crate::{Cli, command, manifest, object, setup};

/// What every step needs.
struct Lint {
    workspace: Workspace,
    toolchain: Toolchain,
}

/// One check: its name, and the function that fails when the check does.
type Step = (&'static str, fn(&Lint) -> Result<()>);

/// The cheap ones first. `object` is before `clippy` because netdp embeds the object.
const STEPS: &[Step] = &[
    ("manifests", manifests),
    ("lengths", lengths),
    ("readme", readme),
    ("fmt", fmt),
    ("object", object_is_sound),
    ("clippy", clippy),
    ("clippy of the BPF target", clippy_bpf),
    ("doc", doc),
];

/// Runs all steps, also after one that failed, and fails if any did.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::find()?;
    let toolchain = setup::for_building(&workspace)?;
    let lint = Lint { workspace, toolchain };
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("lint: {name}");
        if let Err(error) = step(&lint) {
            eprintln!("lint: {name} failed: {error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} of {} steps failed: {}", failed.len(), STEPS.len(), failed.join(", "));
    }
    println!("lint: clean ({} steps)", STEPS.len());
    Ok(())
}

fn cargo(lint: &Lint) -> std::process::Command {
    let mut cargo = command::cargo();
    cargo.current_dir(&lint.workspace.root);
    cargo
}

fn manifests(lint: &Lint) -> Result<()> {
    none(&manifest::check(&lint.workspace)?)
}

/// The bounds hold in each crate by itself, so that a crate of one-liners does not pay for another.
fn lengths(lint: &Lint) -> Result<()> {
    let mut faults = Vec::new();
    for manifest in manifest::members(&lint.workspace)? {
        let folder = manifest.parent().context("a manifest without a folder")?;
        let lengths = Lengths::of(folder)?;
        println!("  {:14} {}", lint.workspace.short(folder).display(), lengths.summary());
        let name = lint.workspace.short(folder).display().to_string();
        faults.extend(lengths.faults().into_iter().map(|fault| format!("{name}: {fault}")));
    }
    none(&faults)
}

/// A command that the README shows must exist.
fn readme(lint: &Lint) -> Result<()> {
    let text = fs::read_to_string(lint.workspace.root.join("README.md")).context("cannot read README.md")?;
    let cli = Cli::command();
    let shown = text.split("cargo xtask ").skip(1);
    let shown = shown.map(|rest| rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>());
    let unknown: Vec<String> = shown
        .filter(|name| !name.is_empty() && cli.find_subcommand(name).is_none())
        .map(|name| format!("README.md shows `cargo xtask {name}`, which does not exist"))
        .collect();
    none(&unknown)
}

fn fmt(lint: &Lint) -> Result<()> {
    command::run(cargo(lint).args(["fmt", "--all", "--check"]))
}

fn object_is_sound(lint: &Lint) -> Result<()> {
    object::build(&lint.workspace, &lint.toolchain)
}

fn clippy(lint: &Lint) -> Result<()> {
    let args = ["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    command::run(cargo(lint).args(args))
}

/// What only the BPF target compiles. Where its toolchain has no clippy, its compiler's own warnings are denied
/// there, and clippy has seen netdp-ebpf as the host compiles it.
fn clippy_bpf(lint: &Lint) -> Result<()> {
    let subcommand = if lint.toolchain.has_clippy() { "clippy" } else { "rustc" };
    if subcommand == "rustc" {
        println!("  {} has no clippy: the compiler's warnings are denied instead", lint.toolchain);
    }
    let mut cargo = object::cargo(&lint.workspace, &lint.toolchain, subcommand);
    cargo.args(["--release", "--target-dir"]).arg(object::target_dir(&lint.workspace).join("lint"));
    command::run(cargo.args(["--", "--deny", "warnings"]))
}

fn doc(lint: &Lint) -> Result<()> {
    let args = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    command::run(cargo(lint).args(args).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn none(faults: &[String]) -> Result<()> {
    if !faults.is_empty() {
        bail!("{}", faults.join("\n  "));
    }
    Ok(())
}
