//! `fuzz`: the programs' parser and ICMP code under libFuzzer, by the stable compiler.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{command, setup};

/// Options of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to look, in seconds
    #[arg(default_value_t = 60)]
    seconds: u32,

    /// Afterwards, keep in fuzz/corpus the smallest inputs that reach all that was reached
    #[arg(long)]
    keep: bool,
}

/// What `cargo fuzz` passes for coverage, all of it known to the stable compiler: counters per edge with a table of their
/// places, and the operands of comparisons. Assertions and overflow checks stay in.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Clink-dead-code",
];
/// Named, so that build scripts and macros are not instrumented. The crate needs memory below 4 GiB, which only this
/// architecture gives on request.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Looks for inputs that break a promise; an error when there is one, which libFuzzer has then written to a file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    setup::for_fuzzing()?;
    let target = workspace.target.join("fuzz");
    command::run(
        command::cargo()
            .current_dir(&workspace.root)
            .env("RUSTFLAGS", COVERAGE.join(" "))
            .args(["build", "--locked", "-p", "fuzz", "--features", "libfuzzer", "--bin", "datapath"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(&target),
    )?;
    let corpus = workspace.root.join("fuzz/corpus");
    let found = target.join("found");
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let fuzzer = || {
        let mut fuzzer = std::process::Command::new(target.join(TARGET).join("debug/datapath"));
        fuzzer.current_dir(&target);
        fuzzer
    };
    let limit = format!("-max_total_time={}", args.seconds);
    command::run(fuzzer().args([&limit, "-max_len=600", "-print_final_stats=1"]).arg(&found).arg(&corpus))?;
    if !args.keep {
        return Ok(());
    }
    let merged = target.join("merged");
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged).with_context(|| format!("cannot create {}", merged.display()))?;
    command::run(fuzzer().arg("-merge=1").arg(&merged).arg(&corpus).arg(&found))?;
    fs::remove_dir_all(&corpus).with_context(|| format!("cannot replace {}", corpus.display()))?;
    copy(&merged, &corpus)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry.context("cannot read what was merged")?.path();
        let name = path.file_name().context("a file without a name")?;
        fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}
