//! `test`: the tiers, counted.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::lacking::Lacking;
use crate::workspace::Workspace;
use crate::{build, command, packages, setup};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The tiers to run; all of them when none is named
    #[arg(value_enum)]
    tiers: Vec<Tier>,
}

/// What a test needs of the machine decides its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Pure logic, and the examples in the documentation: needs nothing
    Unit,
    /// One packet into one program: needs root
    Datapath,
    /// Real traffic between namespaces: needs root
    System,
    /// Commands, their output and exit codes: needs root
    Cli,
}

/// What libtest reported over all binaries of a tier.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Binaries that announced their tests and never reported a result.
    unfinished: usize,
}

/// One row of the table at the end.
struct Row {
    tier: Tier,
    count: Count,
    time: Duration,
}

/// Sets up, builds, runs the tiers and prints the count, which is the last line also when tests failed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let tiers = if args.tiers.is_empty() { Tier::value_variants() } else { &args.tiers };
    check_privilege(tiers)?;
    setup::run()?;
    build::release()?;
    let workspace = Workspace::find()?;
    let rows = tiers.iter().map(|tier| run_tier(&workspace, *tier)).collect::<Result<Vec<Row>>>()?;
    let passed: usize = rows.iter().map(|row| row.count.passed).sum();
    let failed: usize = rows.iter().map(|row| row.count.failed).sum();
    print_table(&rows);
    println!("{passed} passed, {failed} failed");
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check_privilege(tiers: &[Tier]) -> Result<()> {
    let privileged = tiers.iter().find(|tier| **tier != Tier::Unit);
    if let Some(tier) = privileged
        && !packages::is_root()?
    {
        return Err(Lacking(format!(
            "the {} tests load programs into the kernel and make namespaces, which only root may do.\n\
             run: sudo -E env \"PATH=$PATH\" cargo xtask test; or without root: cargo xtask test unit",
            tier.name()
        ))
        .into());
    }
    Ok(())
}

fn run_tier(workspace: &Workspace, tier: Tier) -> Result<Row> {
    let start = Instant::now();
    let mut count = Count::default();
    for mut command in tier.commands(workspace) {
        println!("$ {}", command::line(&command));
        count.add_run(stream(&mut command)?);
    }
    if count.passed + count.failed == 0 {
        eprintln!("test: {} ran no test at all, which is a failure", tier.name());
        count.failed = 1;
    }
    Ok(Row { tier, count, time: start.elapsed() })
}

/// Shows what the tests print as they print it, and counts.
fn stream(command: &mut Command) -> Result<(Count, bool)> {
    let line = command::line(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().context("the tests have no stdout")?;
    let mut count = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        count.add(&line);
    }
    Ok((count, child.wait().context("cannot wait for the tests")?.success()))
}

fn print_table(rows: &[Row]) {
    println!("\n{:<10}{:>8}{:>8}{:>9}{:>9}", "tier", "passed", "failed", "ignored", "seconds");
    for Row { tier, count, time } in rows {
        let Count { passed, failed, ignored, .. } = count;
        println!("{:<10}{passed:>8}{failed:>8}{ignored:>9}{:>9.1}", tier.name(), time.as_secs_f32());
    }
    println!();
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Datapath => "datapath",
            Self::System => "system",
            Self::Cli => "cli",
        }
    }

    fn commands(self, workspace: &Workspace) -> Vec<Command> {
        let cargo = |args: &[&str]| {
            let mut cargo = command::cargo();
            cargo.current_dir(&workspace.root).args(["test", "--locked", "--no-fail-fast"]).args(args);
            cargo.env("NETDP_BIN", workspace.netdp("release"));
            cargo
        };
        match self {
            // The harness has pure parts too: its packet builder.
            Self::Unit => vec![cargo(&[]), cargo(&["-p", "tests", "--lib"])],
            // One at a time: they measure, and they share the machine's processors and its program memory.
            Self::Datapath | Self::System | Self::Cli => {
                vec![cargo(&["-p", "tests", "--test", self.name(), "--", "--test-threads=1"])]
            }
        }
    }
}

impl Count {
    /// Takes in what one run of cargo counted, and whether cargo called it a success.
    fn add_run(&mut self, (run, succeeded): (Self, bool)) {
        let Self { passed, failed, ignored, unfinished } = run;
        self.passed += passed;
        self.failed += failed + unfinished;
        self.ignored += ignored;
        if !succeeded && failed + unfinished == 0 {
            eprintln!("test: no test failed, but cargo did: it did not compile, or a binary crashed");
            self.failed += 1;
        }
    }

    /// Takes in one line of what libtest prints.
    fn add(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.unfinished += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.unfinished = self.unfinished.saturating_sub(1);
        self.passed += number_before(result, " passed");
        self.failed += number_before(result, " failed");
        self.ignored += number_before(result, " ignored");
    }
}

fn number_before(text: &str, what: &str) -> usize {
    let digits = text.find(what).and_then(|end| text[..end].rsplit(' ').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &[&str]) -> Count {
        let mut count = Count::default();
        for line in lines {
            count.add(line);
        }
        count
    }

    #[test]
    fn results_of_all_binaries_add_up() {
        let ok =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        let count = counted(&["running 13 tests", "test a ... ok", ok, "running 5 tests", bad]);
        assert_eq!(count, Count { passed: 15, failed: 2, ignored: 1, unfinished: 0 });
    }

    #[test]
    fn a_binary_that_dies_before_its_result_is_unfinished() {
        assert_eq!(counted(&["running 1 test", "test a ... "]), Count { unfinished: 1, ..Count::default() });
    }

    #[test]
    fn a_run_that_fails_without_a_failed_test_counts_as_one() {
        let mut count = Count::default();
        count.add_run((counted(&["running 1 test"]), false));
        count.add_run((Count::default(), false));
        assert_eq!(count.failed, 2);
    }

    #[test]
    fn what_a_test_prints_is_no_result() {
        assert_eq!(counted(&["5 passed, 3 failed", "running away"]), Count::default());
    }
}
