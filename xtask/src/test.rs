//! `test`: the tiers, counted.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::lacking::Lacking;
use crate::requirements::{Outcome, Outcomes, Requirements};
use crate::vm::{self, Verified};
use crate::workspace::Workspace;
use crate::{build, command, packages, setup};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The tiers to run; all of them when none is named
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Afterwards boot other kernels in VMs and run the tests there too (`cargo xtask vm`)
    #[arg(long)]
    vm: bool,
    /// Show what the RFCs ask of a NAT, and each attack and incident, with its tests and what they came to. Those run too
    /// that are left out otherwise: for their length, or because what they ask for is not there yet
    #[arg(long)]
    table: bool,
    /// Let no program fail for its size, and write the sizes into tests/datapath/budgets.txt
    #[arg(long)]
    bless: bool,
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
    /// What the RFCs ask of a NAT, on the wire (tests/nat/requirements.txt): needs root
    Nat,
    /// What people do with container networks, told line by line (tests/stories): needs root
    Stories,
    /// Commands, their output and exit codes: needs root
    Cli,
}

/// What libtest reported over all binaries of a tier.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    /// Those of the following lists are not among them.
    ignored: usize,
    /// Tests that run in a VM only: name, and what they need of it.
    in_vm: Vec<String>,
    /// Tests of what is not there yet: name, and what they wait for.
    not_yet: Vec<String>,
    /// Tests that run with `--table` only: name, and why.
    long: Vec<String>,
    /// Binaries that announced their tests and never reported a result.
    unfinished: usize,
}

/// One row of the table at the end.
struct Row {
    name: String,
    count: Count,
    time: Duration,
    /// Why tests of it could not run.
    lost: Option<String>,
}

/// What is kept of a run beside the count.
#[derive(Default)]
struct Told {
    verified: Vec<Verified>,
    outcomes: Outcomes,
}

/// How libtest marks a test that the bare machine does not run.
const IN_VM: &str = " ... ignored, runs in the VM: ";
/// And one of what is not there yet, which runs with `--table` only, and fails the rows that name it.
pub(crate) const NOT_YET: &str = " ... ignored, not yet: ";
/// And one that takes minutes.
const LONG: &str = " ... ignored, runs with --table: ";

/// Sets up, builds, runs the tiers and prints the count, which is the last line also when tests failed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let tiers = if args.tiers.is_empty() { Tier::value_variants() } else { &args.tiers };
    check_privilege(tiers)?;
    setup::run()?;
    build::release()?;
    let workspace = Workspace::find()?;
    let requirements = args.table.then(|| Requirements::read(&workspace)).transpose()?;
    let mut told = Told::default();
    let run = |tier: &Tier| run_tier(&workspace, *tier, args.bless, &mut told);
    let mut rows = tiers.iter().map(run).collect::<Result<Vec<Row>>>()?;
    if args.vm {
        rows.extend(vm_rows(args.bless));
    }
    if let Some(requirements) = requirements {
        rows.extend(prove(&workspace, &requirements, &mut told)?);
    }
    let passed: usize = rows.iter().map(|row| row.count.passed).sum();
    let failed: usize = rows.iter().map(|row| row.count.failed).sum();
    print_left_out(&rows, args);
    print_table(&rows);
    rows.iter()
        .filter_map(|row| Some((&row.name, row.lost.as_ref()?)))
        .for_each(|(name, why)| println!("{name}: {why}"));
    println!("{passed} passed, {failed} failed");
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs what the requirements name of tiers that did not run, and shows the table. What no run has proved is a failure.
fn prove(workspace: &Workspace, requirements: &Requirements, told: &mut Told) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for tier in Tier::value_variants() {
        let lacking = requirements.lacking(&told.outcomes).remove(tier.name()).unwrap_or_default();
        if !lacking.is_empty() {
            let start = Instant::now();
            let count = run_tests(workspace, *tier, &[], &lacking, told)?;
            rows.push(Row { name: tier.name().to_owned(), count, time: start.elapsed(), lost: None });
        }
        rows.extend(run_left_out(workspace, *tier, told)?);
    }
    println!("{}", requirements.table(&told.outcomes));
    let unproved = requirements.unproved(&told.outcomes);
    let count = Count { failed: unproved.len(), ..Count::default() };
    let lost = (count.failed > 0).then(|| format!("no test that ran proves:\n  {}", unproved.join("\n  ")));
    rows.push(Row { name: "unproved".to_owned(), count, time: Duration::ZERO, lost });
    Ok(rows)
}

/// Runs those tests of a tier that wait for `--table`. One that is of what is not there yet is no failure by itself: the rows
/// are that name it.
fn run_left_out(workspace: &Workspace, tier: Tier, told: &mut Told) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, outcome) in [("long", Outcome::Long), ("not yet", Outcome::NotYet)] {
        let names = told.names(tier, outcome);
        if names.is_empty() {
            continue;
        }
        let start = Instant::now();
        let mut count = run_tests(workspace, tier, &["--ignored"], &names, told)?;
        if outcome == Outcome::NotYet {
            count.failed = 0;
            told.excuse(tier, &names);
        }
        rows.push(Row { name: what.to_owned(), count, time: start.elapsed(), lost: None });
    }
    Ok(rows)
}

/// Runs the named tests of a tier.
fn run_tests(
    workspace: &Workspace,
    tier: Tier,
    flags: &[&str],
    names: &[String],
    told: &mut Told,
) -> Result<Count> {
    let mut count = Count::default();
    for mut command in tier.commands(workspace) {
        command.args(flags).arg("--exact");
        println!("$ {} ({} tests)", command::line(&command), names.len());
        command.args(names);
        count.add_run(stream(&mut command, tier, told)?);
    }
    Ok(count)
}

impl Told {
    /// The tests of a tier that came to this.
    fn names(&self, tier: Tier, outcome: Outcome) -> Vec<String> {
        let found = self.outcomes.iter().filter(|((of, _), came)| of == tier.name() && **came == outcome);
        found.map(|((_, name), _)| name.clone()).collect()
    }

    /// Takes the failures of tests that are expected to fail for what they are.
    fn excuse(&mut self, tier: Tier, names: &[String]) {
        for name in names {
            let outcome =
                self.outcomes.entry((tier.name().to_owned(), name.clone())).or_insert(Outcome::NotYet);
            if *outcome == Outcome::Failed {
                *outcome = Outcome::NotYet;
            }
        }
    }
}

/// What the other tests came to stands also when no VM could be run.
fn vm_rows(bless: bool) -> Vec<Row> {
    let start = Instant::now();
    match vm::both(bless) {
        Ok(parts) => parts.into_iter().map(Row::from).collect(),
        Err(error) => vec![vm_failed(&error, start.elapsed())],
    }
}

fn vm_failed(error: &anyhow::Error, time: Duration) -> Row {
    let lost = Some(format!("the tests in VMs could not be run: {error:#}"));
    Row { name: "vm".to_owned(), count: Count { failed: 1, ..Count::default() }, time, lost }
}

impl From<vm::Part> for Row {
    fn from(part: vm::Part) -> Self {
        let vm::Part { name, passed, failed, time, lost } = part;
        Self { name, count: Count { passed, failed, ..Count::default() }, time, lost }
    }
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

fn run_tier(workspace: &Workspace, tier: Tier, bless: bool, told: &mut Told) -> Result<Row> {
    let start = Instant::now();
    let mut count = Count::default();
    for mut command in tier.commands(workspace) {
        println!("$ {}", command::line(&command));
        if bless {
            command.env("NETDP_BLESS", "1").stderr(Stdio::piped());
        }
        count.add_run(stream(&mut command, tier, told)?);
    }
    if bless && tier == Tier::Datapath {
        vm::bless(workspace, &told.verified)?;
    }
    if count.passed + count.failed == 0 {
        eprintln!("test: {} ran no test at all, which is a failure", tier.name());
        count.failed = 1;
    }
    Ok(Row { name: tier.name().to_owned(), count, time: start.elapsed(), lost: None })
}

/// Shows what the tests print as they print it, and counts. What they measure is on stderr, which is looked at when it
/// is a pipe.
fn stream(command: &mut Command, tier: Tier, told: &mut Told) -> Result<(Count, bool)> {
    let line = command::line(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let measured = child.stderr.take().map(read_measured);
    let stdout = child.stdout.take().context("the tests have no stdout")?;
    let mut count = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        count.add(&line);
        told.outcomes.extend(outcome(&line).map(|(name, outcome)| ((tier.name().to_owned(), name), outcome)));
    }
    told.verified.extend(measured.and_then(|thread| thread.join().ok()).into_iter().flatten());
    Ok((count, child.wait().context("cannot wait for the tests")?.success()))
}

/// Shows what comes, and keeps what the verifier walked through.
fn read_measured(pipe: impl Read + Send + 'static) -> JoinHandle<Vec<Verified>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
            eprintln!("{line}");
            all.extend(line.trim_start().strip_prefix("measured: ").and_then(Verified::parse));
        }
        all
    })
}

fn print_table(rows: &[Row]) {
    println!(
        "\n{:<10}{:>8}{:>8}{:>9}{:>9}{:>7}{:>9}{:>9}",
        "tier", "passed", "failed", "ignored", "not yet", "long", "VM only", "seconds"
    );
    for Row { name, count, time, .. } in rows {
        let Count { passed, failed, ignored, in_vm, not_yet, long, .. } = count;
        let (in_vm, not_yet, long) = (in_vm.len(), not_yet.len(), long.len());
        let seconds = time.as_secs_f32();
        println!("{name:<10}{passed:>8}{failed:>8}{ignored:>9}{not_yet:>9}{long:>7}{in_vm:>9}{seconds:>9.1}");
    }
    println!();
}

/// Names the tests that did not run here, or only because they were asked for.
fn print_left_out(rows: &[Row], args: &Args) {
    let all = |of: fn(&Count) -> &[String]| -> Vec<&String> {
        rows.iter().flat_map(|row| of(&row.count)).collect()
    };
    let in_vm =
        if args.vm { "run in the VM" } else { "run in the VM (cargo xtask test --vm, or cargo xtask vm)" };
    print_names(in_vm, &all(|count| &count.in_vm));
    print_names(
        "not yet: tests of what is not there (cargo xtask test nat --table runs them)",
        &all(|count| &count.not_yet),
    );
    if !args.table {
        print_names("run by cargo xtask test nat --table only", &all(|count| &count.long));
    }
}

fn print_names(heading: &str, names: &[&String]) {
    if names.is_empty() {
        return;
    }
    println!("{} {heading}:", names.len());
    for name in names {
        println!("  {name}");
    }
    println!();
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Datapath => "datapath",
            Self::System => "system",
            Self::Nat => "nat",
            Self::Stories => "stories",
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
        let binary = |name| cargo(&["-p", "tests", "--test", name, "--", "--test-threads=1"]);
        match self {
            // The harness has pure parts too: its packet builder. The fuzzer's corpus needs no kernel either.
            Self::Unit => vec![cargo(&[]), cargo(&["-p", "tests", "--lib"]), cargo(&["-p", "fuzz"])],
            // One at a time: they measure, and they share the machine's processors and its program memory.
            Self::Datapath | Self::Stories | Self::Cli => vec![binary(self.name())],
            Self::System => vec![binary(self.name()), binary("differential")],
            // These wait for most of their time, each on hosts of its own.
            Self::Nat => vec![cargo(&["-p", "tests", "--test", self.name(), "--", "--test-threads=4"])],
        }
    }
}

impl Count {
    /// Takes in what one run of cargo counted, and whether cargo called it a success.
    fn add_run(&mut self, (run, succeeded): (Self, bool)) {
        let Self { passed, failed, ignored, in_vm, not_yet, long, unfinished } = run;
        self.passed += passed;
        self.failed += failed + unfinished;
        // libtest counts as ignored what has another place.
        self.ignored += ignored.saturating_sub(in_vm.len() + not_yet.len() + long.len());
        self.in_vm.extend(in_vm);
        self.not_yet.extend(not_yet);
        self.long.extend(long);
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
        for (mark, list) in [(IN_VM, &mut self.in_vm), (NOT_YET, &mut self.not_yet), (LONG, &mut self.long)] {
            let marked = line.strip_prefix("test ").and_then(|test| test.split_once(mark));
            list.extend(marked.map(|(name, why)| format!("{name} ({why})")));
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

/// The test that a line of libtest is about, and what it came to.
fn outcome(line: &str) -> Option<(String, Outcome)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match result {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        _ if line.contains(IN_VM) => Outcome::InVm,
        _ if line.contains(NOT_YET) => Outcome::NotYet,
        _ if line.contains(LONG) => Outcome::Long,
        _ => return None,
    };
    Some((name.to_owned(), outcome))
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
        assert_eq!(count, Count { passed: 15, failed: 2, ignored: 1, ..Count::default() });
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
    fn tests_with_another_place_are_named_and_not_counted_as_ignored() {
        let run = counted(&[
            "running 5 tests",
            "test modules::sctp ... ignored, runs in the VM: needs the module sctp",
            "test a::b ... ignored, takes long",
            "test a::c ... ignored, not yet: fragments",
            "test a::d ... ignored, runs with --table: idles for a minute",
            "test result: ok. 1 passed; 0 failed; 4 ignored; 0 measured; 0 filtered out",
        ]);
        let mut count = Count::default();
        count.add_run((run, true));
        assert_eq!(count.in_vm, ["modules::sctp (needs the module sctp)"]);
        assert_eq!(count.not_yet, ["a::c (fragments)"]);
        assert_eq!(count.long, ["a::d (idles for a minute)"]);
        assert_eq!((count.passed, count.ignored), (1, 1));
    }

    #[test]
    fn vm_that_cannot_be_run_is_one_failure() {
        let row = vm_failed(&anyhow::anyhow!("no space left"), Duration::ZERO);
        assert_eq!((row.name.as_str(), row.count.passed, row.count.failed), ("vm", 0, 1));
    }

    #[test]
    fn outcome_is_that_of_the_line() {
        let of = |line| outcome(line).map(|(_, outcome)| outcome);
        assert_eq!(outcome("test a::b ... ok"), Some(("a::b".to_owned(), Outcome::Passed)));
        assert_eq!(of("test a::b ... FAILED"), Some(Outcome::Failed));
        assert_eq!(of("test a::b ... ignored, runs in the VM: needs sctp"), Some(Outcome::InVm));
        assert_eq!(of("test a::b ... ignored, not yet: fragments"), Some(Outcome::NotYet));
        assert_eq!(of("test a::b ... ignored, runs with --table: idles"), Some(Outcome::Long));
        assert_eq!(of("test a::b ... ignored, takes long"), None);
        assert_eq!(of("test result: ok. 1 passed; 0 failed"), None);
    }

    #[test]
    fn failure_of_what_is_not_there_yet_is_not_yet_and_a_success_stands() {
        let of = |name: &str| ("nat".to_owned(), name.to_owned());
        let mut told = Told::default();
        told.outcomes.extend([
            (of("a"), Outcome::NotYet),
            (of("b"), Outcome::Long),
            (of("c"), Outcome::Failed),
        ]);
        let names = told.names(Tier::Nat, Outcome::NotYet);
        assert_eq!(names, ["a"]);
        told.outcomes.insert(of("a"), Outcome::Failed);
        told.excuse(Tier::Nat, &names);
        assert_eq!((told.outcomes[&of("a")], told.outcomes[&of("c")]), (Outcome::NotYet, Outcome::Failed));
        told.outcomes.insert(of("a"), Outcome::Passed);
        told.excuse(Tier::Nat, &names);
        assert_eq!(told.outcomes[&of("a")], Outcome::Passed);
    }

    #[test]
    fn what_a_test_prints_is_no_result() {
        assert_eq!(counted(&["5 passed, 3 failed", "running away"]), Count::default());
    }
}
