//! The arena: netdp beside the bare wire, the kernel's forwarding, a Linux bridge, nftables and a real Docker, in one run.
//!
//! `cargo xtask bench` builds it with optimisation and hands over its options. Each arm has namespaces of its own
//! ([`arm`]); every measurement proves by counters that its packets took the arm's way ([`counter`]); what is compared was
//! measured side by side, round by round ([`rounds`]).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step ends its arm, and what the panic says is told as the reason"
)]

mod arena;
mod arm;
mod busy;
mod counter;
mod document;
mod ending;
mod http;
mod interrupt;
mod iperf;
mod latency;
mod load;
mod machine;
mod measure;
mod micro;
mod options;
mod picture;
mod plan;
mod port;
mod rate;
mod readme;
mod report;
mod rounds;
mod scale;
mod server;
mod summary;
mod table;
mod tool;
mod unit;
mod variant;
mod wire;
mod word;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::unistd::geteuid;

use arena::Arena;
use ending::Ending;
use machine::Machine;
use measure::attempt;
use options::{Kind, Options};
use plan::Plan;
use report::Report;
use word::word;

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", about)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Cli::parse().options;
    interrupt::heed();
    // What fails is told as the reason for which something is left out.
    std::panic::set_hook(Box::new(|_| ()));
    let ended = attempt(|| run(&options)).unwrap_or_else(|why| Err(Ending::Failed(why)));
    ended.unwrap_or_else(|ending| {
        eprintln!("error: {ending}");
        ending.code()
    })
}

/// Builds the arms, measures, takes them away, and only then reports.
fn run(options: &Options) -> Result<ExitCode, Ending> {
    if let Some(from) = &options.from {
        return update_readme(from).map(|()| ExitCode::SUCCESS);
    }
    check()?;
    let output = options.output.clone().unwrap_or_else(default_output);
    fs::create_dir_all(&output).map_err(|error| failed(&output, &error))?;
    if options.micro {
        return micro::run(&output, options.quick);
    }
    if options.scale {
        return scale::run(options, &output);
    }
    Report::clear(&output);
    let (machine, mut plan) = (Machine::this(), Plan::of(options));
    eprintln!("{}", machine.line());
    let left_out = leave_out_kinds(&mut plan, &options.kinds)?;
    let mut arena = Arena::build(&plan, &options.arms)?;
    for (kind, why) in left_out {
        arena.leave_out(kind, &why);
    }
    if let Some(warning) = machine.warning() {
        eprintln!("{warning}");
        arena.note("machine", warning);
    }
    if let Some(note) = plan.note() {
        arena.note("plan", note);
    }
    let measured = rounds::run(&mut arena, &plan);
    let remarks = arena.take_away()?;
    let samples = measured?;
    let report = Report { machine, rows: summary::rows(&plan, &samples), plan, samples, remarks };
    report.print();
    report.write(&output)?;
    // What was lost in the middle is a failure, although the rest of the table stands.
    if report.samples.lost_any() {
        return Ok(ExitCode::FAILURE);
    }
    if options.update_readme {
        update_readme(&output.join(report::RESULTS))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes kinds away that this machine lacks the tools for; those in `named` were asked for by name.
fn leave_out_kinds(plan: &mut Plan, named: &[Kind]) -> Result<Vec<(String, String)>, Ending> {
    let why = |kind: &Kind| Some(format!("not installed: {}", kind.lacks()?.join(", ")));
    let lacking: Vec<(Kind, String)> =
        plan.kinds.iter().filter_map(|kind| Some((*kind, why(kind)?))).collect();
    if let Some((kind, why)) = lacking.iter().find(|(kind, _)| named.contains(kind)) {
        return Err(Ending::Lacking(format!("{} cannot be measured here: {why}", word(kind))));
    }
    plan.kinds.retain(|kind| lacking.iter().all(|(lacking, _)| lacking != kind));
    Ok(lacking.into_iter().map(|(kind, why)| (word(&kind), why)).collect())
}

fn update_readme(from: &Path) -> Result<(), Ending> {
    let path = workspace().join("README.md");
    readme::update(&path, from).map_err(Ending::Failed)?;
    println!("{}", path.display());
    Ok(())
}

fn default_output() -> PathBuf {
    workspace().join("target/bench")
}

fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn check() -> Result<(), Ending> {
    if !geteuid().is_root() {
        return Err(Ending::Lacking(
            "only root may make namespaces and load programs into the kernel".into(),
        ));
    }
    let lacks = tool::lacking_everywhere();
    if !lacks.is_empty() {
        return Err(Ending::Lacking(format!("not installed: {}; run: cargo xtask setup", lacks.join(", "))));
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Ending {
    Ending::Failed(format!("cannot write {}: {error}", path.display()))
}
