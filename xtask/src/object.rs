//! The object for the kernel: built, checked, stripped, and put where `netdp` embeds it from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;
use crate::{command, linker};

/// The name of the eBPF crate's binary.
const BINARY: &str = "netdp-bpf";

/// Builds the object and places it; the file is written only when its bytes changed, so that `netdp` is not
/// built again for nothing.
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    println!("build: programs for the kernel, by {toolchain}");
    command::run(
        cargo(workspace, toolchain, "build").args(["--release", "--target-dir"]).arg(target_dir(workspace)),
    )?;
    let built = target_dir(workspace).join(TARGET).join("release").join(BINARY);
    check_no_panic(&built)?;
    let stripped = built.with_extension("stripped");
    strip(&built, &stripped)?;
    check_sections(&stripped)?;
    place(workspace, &stripped)
}

/// Builds one of the crate's examples, which are objects that are broken on purpose or that measure the others, and says
/// where it is.
pub(crate) fn build_example(workspace: &Workspace, toolchain: &Toolchain, name: &str) -> Result<PathBuf> {
    let mut cargo = cargo(workspace, toolchain, "build");
    cargo.args(["--example", name, "--release", "--target-dir"]).arg(target_dir(workspace));
    command::run(&mut cargo)?;
    let built = target_dir(workspace).join(TARGET).join("release/examples").join(name);
    let stripped = built.with_extension("stripped");
    strip(&built, &stripped)?;
    Ok(stripped)
}

/// Cargo with a subcommand and all that belongs to the BPF target.
pub(crate) fn cargo(workspace: &Workspace, toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&workspace.root)
        .args([subcommand, "--locked", "-p", "netdp-ebpf", "-Z", "build-std=core", "--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, toolchain).join("\x1f"))
        // Not a flag: flags are hashed into symbol names, and this path differs from checkout to checkout.
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", workspace.linker());
    cargo
}

/// A target folder of its own: two toolchains in one would rebuild each other's output.
pub(crate) fn target_dir(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bpf-build")
}

/// The compiler's flags: BTF with line info, the kernel's third instruction set (atomics), and paths that are
/// the same wherever the checkout lies.
fn rustflags(workspace: &Workspace, toolchain: &Toolchain) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Clink-arg=--btf",
        "-Cdebuginfo=2",
        "-Ctarget-cpu=v3",
        // By default the linker turns each clearing of a struct into a loop over its bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .map(String::from)
    .into();
    let prefixes =
        [(workspace.root.clone(), "netdp"), (cargo_home(), "cargo"), (toolchain.source.clone(), "rust")];
    flags
        .extend(prefixes.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    flags
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default()
}

/// A panic in a program is an endless loop, which the verifier refuses at load time with a message that does
/// not tell where it came from: better to find it here.
fn check_no_panic(object: &Path) -> Result<()> {
    let symbols = command::output(linker::llvm_tool("nm")?.arg("--demangle").arg(object))?;
    let panics: Vec<&str> = symbols.lines().filter(|line| line.contains("panicking")).collect();
    if !panics.is_empty() {
        bail!(
            "the object can panic, which the kernel does not load. An index, a slice, a division, an unwrap or \
             checked arithmetic in netdp-ebpf or netdp-common is not proven safe:\n{}",
            panics.join("\n")
        );
    }
    Ok(())
}

/// DWARF is five sixths of the object and the kernel has no use for it; BTF and its line info stay.
fn strip(from: &Path, to: &Path) -> Result<()> {
    command::output(linker::llvm_tool("strip")?.arg("--strip-debug").arg("-o").arg(to).arg(from))?;
    Ok(())
}

fn check_sections(object: &Path) -> Result<()> {
    let sections = command::output(linker::llvm_tool("readelf")?.args(["--sections", "--wide"]).arg(object))?;
    for wanted in [".BTF", ".BTF.ext"] {
        if !sections.split_whitespace().any(|word| word == wanted) {
            bail!("the object has no section {wanted}: was it linked with --btf and debuginfo=2?");
        }
    }
    Ok(())
}

fn place(workspace: &Workspace, stripped: &Path) -> Result<()> {
    let object = workspace.object();
    let bytes = fs::read(stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    let short = workspace.short(&object).display();
    if fs::read(&object).is_ok_and(|old| old == bytes) {
        println!("build: {short} is unchanged ({} bytes)", bytes.len());
        return Ok(());
    }
    fs::create_dir_all(object.parent().context("the object has no folder")?)?;
    let new = object.with_extension("new");
    fs::write(&new, &bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &object).with_context(|| format!("cannot place {short}"))?;
    println!("build: {short} ({} bytes)", bytes.len());
    Ok(())
}
