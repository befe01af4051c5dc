//! `vm`: boots other kernels, and runs the tests in them.

mod budgets;
mod chosen;
mod console;
mod faults;
mod guest;
mod initramfs;
mod kernel;
mod lab;
mod modules;
mod outcome;
mod package;
mod programs;
mod progress;
mod qemu;
mod running;
mod space;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use protocol::Job;

pub(crate) use budgets::{Verified, bless};
use chosen::{Choice, Wish};
use guest::{Ending, Guest, Limits};
use kernel::Kernel;
use lab::{Boot, Lab};
use outcome::{Results, reason};
use qemu::{Accel, Wanted};
use table::Table;

use crate::workspace::Workspace;
use crate::{build, setup};

/// Kernels that many hosts have: Debian 12's own, and that of Debian 13. Boots of the first test the tool itself.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// An emulated boot takes 5 s on an idle machine, and heartbeats come every 5 s. All chosen tests end within
/// 17 minutes of the start on two processors that execute two guests; a busier machine is given more.
const PATIENCE: Limits =
    Limits { first: Duration::from_mins(2), silence: Duration::from_mins(1), total: Duration::from_mins(30) };
/// With `--all` single tests may take half an hour.
const ALL: Duration = Duration::from_hours(4);
/// Tests that run beside one another in a guest.
const AT_ONCE: usize = 2;
/// Tests that are named when many did not end.
const NAMED: usize = 10;
/// What the tool's own tests are called in the table of `cargo xtask test`.
const SELF: &str = "vm self";

const EXAMPLES: &str = "Examples:
  cargo xtask vm                        the newest 6.1 and 6.12 of Debian, with the tests chosen for guests
  cargo xtask vm 6.1                    one kernel
  cargo xtask vm 6.12.100 --filter sctp the tests with that word in their names, in that very kernel
  cargo xtask vm --tier nat --all       what the RFCs ask of a NAT, whole, in both kernels
  cargo xtask vm --image arch/x86/boot/bzImage --modules /lib/modules/6.9.0-mine
  cargo xtask vm --self-test            what goes wrong on purpose must be reported for what it is
  cargo xtask vm --bless                write down what the verifiers walked through (tests/datapath/budgets.txt)
Consoles and reports are kept in target/vm/logs.";

/// Options of `vm`.
#[derive(clap::Args, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Versions of Debian's kernels, or beginnings of them: 6.1, 6.12.100, 6.1.0-56
    #[arg(value_name = "KERNEL", conflicts_with = "image")]
    kernels: Vec<String>,
    /// Boot this kernel (a bzImage) instead of one of Debian's
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Its modules: a folder like /lib/modules/6.9.0-mine. Without: /lib/modules/RELEASE if there is one, else none
    #[arg(long, value_name = "DIR", requires = "image")]
    modules: Option<PathBuf>,
    /// Run only tests with one of these words in their names
    #[arg(long, value_name = "SUBSTRING", num_args = 1..)]
    filter: Vec<String>,
    /// Run only the tests of these tiers
    #[arg(long, value_name = "TIER", num_args = 1.., value_parser = chosen::TIERS)]
    tier: Vec<String>,
    /// Run those tests too that are left out of guests, which takes much longer
    #[arg(long)]
    all: bool,
    /// Let no program fail for its size, and write the sizes into the budgets
    #[arg(long)]
    bless: bool,
    /// Test this tool itself instead: faults on purpose, in boots of 6.1
    #[arg(long, conflicts_with_all = ["kernels", "image", "filter", "tier", "all", "bless"])]
    self_test: bool,
    /// Who executes the guests' instructions
    #[arg(long, value_enum, value_name = "ACCEL", default_value_t)]
    accel: Wanted,
}

/// What a part of the run comes to: a row of the table of `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) time: Duration,
    /// What became of a guest that did not come to its end.
    pub(crate) lost: Option<String>,
}

/// Runs what the command line says, and counts in the last line.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let parts = parts(args).map_err(space::named)?;
    let passed: usize = parts.iter().map(|part| part.passed).sum();
    let failed: usize = parts.iter().map(|part| part.failed).sum();
    println!("{passed} passed, {failed} failed");
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The kernels first: a name that is wrong is told before anything is built.
fn parts(args: &Args) -> Result<Vec<Part>> {
    setup::run()?;
    let mut lab = Lab::claim(Workspace::find()?)?;
    let kernels = named(&lab, args)?;
    build::release()?;
    lab.prepare()?;
    if args.self_test { self_test(&lab, args, &kernels[0]) } else { test(&lab, args, &kernels) }
}

/// The kernels and the tool's own tests, after `build::release`.
pub(crate) fn both(bless: bool) -> Result<Vec<Part>> {
    let args = Args { bless, ..Args::default() };
    let all = || {
        let mut lab = Lab::claim(Workspace::find()?)?;
        let kernels = named(&lab, &args)?;
        lab.prepare()?;
        let mut all = test(&lab, &args, &kernels)?;
        // The kernels' results stand whatever becomes of it.
        let begin = Instant::now();
        all.extend(self_test(&lab, &args, &kernels[0]).unwrap_or_else(|error| {
            let lost = Some(format!("{error:#}"));
            vec![Part { name: SELF.to_owned(), passed: 0, failed: 1, time: begin.elapsed(), lost }]
        }));
        Ok(all)
    };
    all().map_err(space::named)
}

/// The tool itself, with boots of one kernel.
fn self_test(lab: &Lab, args: &Args, kernel: &Kernel) -> Result<Vec<Part>> {
    let toolchain = setup::for_building(&lab.workspace)?;
    lab.pack_modules(kernel)?;
    let accel = accel(lab, args, kernel)?;
    let (caught, time) = faults::run(lab, kernel, accel, &toolchain)?;
    let passed = caught.iter().filter(|caught| caught.passed()).count();
    Ok(vec![Part { name: SELF.to_owned(), passed, failed: caught.len() - passed, time, lost: None }])
}

fn accel(lab: &Lab, args: &Args, kernel: &Kernel) -> Result<Accel> {
    match args.accel {
        Wanted::Auto => lab.accel(kernel),
        Wanted::Kvm => Ok(Accel::Kvm),
        Wanted::Tcg => Ok(Accel::Tcg),
    }
}

/// The tests, in all kernels.
fn test(lab: &Lab, args: &Args, kernels: &[Kernel]) -> Result<Vec<Part>> {
    let choice = choose(lab, args)?;
    let programs = budgets::programs(&lab.workspace)?;
    // Before the guests run: who builds meanwhile makes another netdp than theirs.
    let (release, running) = running::ask(&lab.workspace)?;
    let mut results = boot_all(lab, args, kernels, &choice)?;
    for results in &mut results {
        results.compare(&running);
        explain(lab, results);
    }
    println!();
    Table { kernels: &results, programs: &programs, running: (&release, &running) }.print();
    println!();
    for line in table::lacks(&results, &running) {
        println!("{line}");
    }
    if args.bless {
        let verified: Vec<Verified> = results.iter().flat_map(|results| results.verified.clone()).collect();
        bless(&lab.workspace, &verified)?;
    }
    Ok(results.iter().map(part).collect())
}

fn part(results: &Results) -> Part {
    Part {
        name: format!("vm {}", kernel::short(&results.release)),
        passed: results.passed(),
        failed: results.failed(),
        time: results.time,
        lost: (results.ending != Ending::Finished).then(|| results.ending.words()),
    }
}

/// The kernels that the command line names.
fn named(lab: &Lab, args: &Args) -> Result<Vec<Kernel>> {
    if let Some(image) = &args.image {
        return Ok(vec![Kernel::of_file(image, args.modules.as_deref())?]);
    }
    let ours = KERNELS.map(str::to_owned);
    let wanted = match args.kernels.as_slice() {
        [] if args.self_test => &ours[..1],
        [] => &ours[..],
        named => named,
    };
    wanted.iter().map(|wanted| Kernel::of_package(wanted, &lab.kernels())).collect()
}

fn choose(lab: &Lab, args: &Args) -> Result<Choice> {
    let wish =
        Wish { filters: args.filter.clone(), tiers: args.tier.clone(), all: args.all, bless: args.bless };
    let list = |binary: &chosen::Binary| Ok((binary.tier.clone(), chosen::list(binary)?));
    let tests = lab.binaries.iter().map(list).collect::<Result<Vec<_>>>()?;
    let choice = Choice::of(&tests, &wish);
    for (why, names) in &choice.left_out {
        println!("vm: {} tests are left out (--all runs them): each {why}", names.len());
    }
    anyhow::ensure!(
        !choice.tasks.is_empty(),
        "no test of {} has one of these words in its name: {:?}",
        if args.tier.is_empty() { "any tier".to_owned() } else { args.tier.join(" and ") },
        args.filter
    );
    Ok(choice)
}

/// Boots all kernels beside one another: an emulated processor keeps one real one busy, and tests mostly wait. An error
/// with one is a failure of that one, unless there is no other.
fn boot_all(lab: &Lab, args: &Args, kernels: &[Kernel], choice: &Choice) -> Result<Vec<Results>> {
    // One after another: they may boot too, to find out about KVM.
    let ready: Vec<_> = kernels.iter().map(|kernel| (kernel, make_ready(lab, args, kernel))).collect();
    let all: Vec<(&Kernel, Result<Results>)> = thread::scope(|scope| {
        let start = |(kernel, ready): (_, Result<(Accel, Vec<String>)>)| {
            let boot = ready.map(|ready| scope.spawn(move || boot(lab, args, kernel, ready, choice)));
            (kernel, boot)
        };
        let boots: Vec<_> = ready.into_iter().map(start).collect();
        let end = |boot: thread::ScopedJoinHandle<'_, Result<Results>>| {
            boot.join().map_err(|_| anyhow!("the watch over a guest panicked"))?
        };
        boots.into_iter().map(|(kernel, boot)| (kernel, boot.and_then(end))).collect()
    });
    if all.len() == 1 {
        return all.into_iter().map(|(_, results)| results).collect();
    }
    let or_lost = |(kernel, results): (&Kernel, Result<Results>)| {
        results.unwrap_or_else(|error| without_a_guest(kernel, &space::named(error), choice))
    };
    Ok(all.into_iter().map(or_lost).collect())
}

/// How a kernel is executed, and the modules that it does not have.
fn make_ready(lab: &Lab, args: &Args, kernel: &Kernel) -> Result<(Accel, Vec<String>)> {
    let lacking = lab.pack_modules(kernel)?;
    Ok((accel(lab, args, kernel)?, lacking))
}

/// The results of a kernel that no guest could be run with: none of its tests ended.
fn without_a_guest(kernel: &Kernel, error: &anyhow::Error, choice: &Choice) -> Results {
    let guest = Guest {
        ending: Ending::Error(format!("{error:#}")),
        reports: Vec::new(),
        console: String::new(),
        warnings: Vec::new(),
        time: Duration::ZERO,
    };
    Results::of(&kernel.release, guest, &choice.tasks, Vec::new())
}

fn boot(
    lab: &Lab,
    args: &Args,
    kernel: &Kernel,
    (accel, lacking): (Accel, Vec<String>),
    choice: &Choice,
) -> Result<Results> {
    let job = Job {
        modules: modules::loaded_first(),
        questions: running::questions(),
        tasks: choice.tasks_under(accel),
        at_once: AT_ONCE,
        fault: None,
    };
    println!("vm: {} boots under {}, {} tests", kernel.release, accel.name(), job.tasks.len());
    let begin = Instant::now();
    let number = lab.progress.begin(&kernel.short(), job.tasks.len());
    let limits = if args.all { Limits { total: ALL, ..PATIENCE } } else { PATIENCE };
    let boot = Boot { kernel, accel, name: kernel.release.clone(), full: true, files: Vec::new(), limits };
    let once = || lab.boot(&boot, &job, &mut |report| lab.progress.tell(number, report));
    let guest = match once() {
        Ok(lost) if !lost.began() => {
            println!(
                "vm: {} was lost before its first test, and boots once more: {}\nthe last lines of its console:\n{}",
                kernel.release,
                lost.ending.words(),
                lost.console
            );
            once()
        }
        guest => guest,
    };
    lab.progress.end(number);
    let mut results =
        Results::of(&kernel.release, guest.context(kernel.release.clone())?, &job.tasks, lacking);
    results.time = begin.elapsed();
    Ok(results)
}

/// The tests that did not end, in one line: of a guest that was lost at once these are all, and what became of the guest
/// is to be seen below.
fn unfinished(names: &[String]) -> Option<String> {
    let (shown, more) = names.split_at(names.len().min(NAMED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (!names.is_empty()).then(|| format!("{} tests did not end: {}{more}", names.len(), shown.join(", ")))
}

/// Says what went wrong with a kernel, with what there is to see of it, the most telling last.
fn explain(lab: &Lab, results: &Results) {
    let short = kernel::short(&results.release);
    for done in &results.failures {
        println!("\n---- {short}: {} {}: {}\n{}", done.tier, done.name, reason(done), done.tail.trim_end());
    }
    if let Some(line) = unfinished(&results.unfinished) {
        println!("\n---- {short}: {line}");
    }
    for (module, said) in &results.not_loaded {
        println!("\n---- {short}: the module {module} could not be loaded: {said}");
    }
    for warning in &results.warnings {
        println!("\n---- {short}: the kernel warns: {warning}");
    }
    if results.ending != Ending::Finished {
        println!("\n---- {short}: {}", results.ending.words());
        println!("the last lines of its console:\n{}", results.console);
    }
    println!("vm: {short}: logs are {}/{}.*", lab.workspace.short(&lab.logs()).display(), results.release);
}
