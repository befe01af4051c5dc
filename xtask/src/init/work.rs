//! The job, from its first line to its last report.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::{self, Command};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};

use protocol::{Fault, HEARTBEAT, JOB, Job, Outcome, Question, REPORTS, Report, Task};

use crate::task;

/// Where programs are looked for in the guest.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Seconds that a command which makes the guest ready may take.
const READY: u64 = 60;

/// Exit status of a worker by which process 1 ends instead of powering off.
pub(crate) const END_INIT: i32 = 77;

/// Does the job.
pub(crate) fn run() -> Result<()> {
    let text = fs::read(JOB).with_context(|| format!("cannot read {JOB}"))?;
    let job: Job = serde_json::from_slice(&text).with_context(|| format!("cannot understand {JOB}"))?;
    if let Some(fault) = job.fault {
        commit(fault)?;
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the release")?;
    report(&Report::Ready { kernel: kernel.trim().to_owned() });
    if job.fault == Some(Fault::SilenceAfterReady) {
        sleep_for_ever();
    }
    thread::spawn(beat);
    report(&Report::Missing { modules: load(&job.modules) });
    // Nothing listens on `lo` before it is up, and nothing else makes it so here.
    task::run(&making_ready(&["ip", "link", "set", "lo", "up"]));
    for question in &job.questions {
        report(&ask(question));
    }
    let (passed, failed) = run_tasks(job.tasks, job.at_once.max(1));
    report(&Report::End { passed, failed });
    Ok(())
}

/// Goes wrong on purpose.
fn commit(fault: Fault) -> Result<()> {
    match fault {
        Fault::Panic => fs::write("/proc/sysrq-trigger", "c").context("the kernel did not panic")?,
        Fault::InitEnds => process::exit(END_INIT),
        Fault::Silence => sleep_for_ever(),
        Fault::SilenceAfterReady => {}
    }
    Ok(())
}

fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}

fn beat() {
    loop {
        thread::sleep(Duration::from_secs(HEARTBEAT));
        report(&Report::Alive);
    }
}

/// Writes a report. A guest that cannot report has nobody to tell.
pub(crate) fn report(report: &Report) {
    static PORT: Mutex<Option<File>> = Mutex::new(None);
    let Ok(line) = report.to_line() else { return };
    let Ok(mut port) = PORT.lock() else { return };
    if port.is_none() {
        *port = open_port().ok();
    }
    if let Some(port) = port.as_mut() {
        let _ = port.write_all(line.as_bytes());
    }
}

/// Raw: a terminal would change the ends of lines, and echo.
fn open_port() -> Result<File> {
    let port = OpenOptions::new().read(true).write(true).open(REPORTS)?;
    let mut settings = tcgetattr(&port)?;
    cfmakeraw(&mut settings);
    tcsetattr(&port, SetArg::TCSANOW, &settings)?;
    Ok(port)
}

/// Waits until the port has sent all.
pub(crate) fn drain() {
    if let Ok(port) = OpenOptions::new().write(true).open(REPORTS) {
        let _ = tcdrain(&port);
    }
}

/// Loads modules; gives those that could not be, with what modprobe said.
fn load(modules: &[String]) -> BTreeMap<String, String> {
    let mut missing = BTreeMap::new();
    for module in modules {
        let done = task::run(&making_ready(&["modprobe", module]));
        let said = done.tail.trim();
        let why = match done.outcome {
            Outcome::Passed => continue,
            Outcome::Hung => format!("modprobe did not end within {READY} s"),
            Outcome::NotStarted(why) => format!("cannot start modprobe: {why}"),
            Outcome::Failed(how) if said.is_empty() => how,
            Outcome::Failed(_) => said.to_owned(),
        };
        missing.insert(module.clone(), why);
    }
    missing
}

/// One that hangs must not keep the tests from running.
fn making_ready(command: &[&str]) -> Task {
    Task {
        tier: "ready".to_owned(),
        name: command.join(" "),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::new(),
        says: None,
        limit: READY,
        alone: true,
    }
}

/// A command with the guest's environment.
pub(crate) fn guest_command<S: AsRef<str>>(words: &[S]) -> Command {
    let mut words = words.iter().map(AsRef::as_ref);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().env("PATH", PATH).env("HOME", "/root").current_dir("/");
    command
}

fn ask(question: &Question) -> Report {
    let name = question.name.clone();
    match guest_command(&question.command).output() {
        Ok(output) => Report::Answer {
            name,
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Report::Answer { name, code: None, output: String::new(), error: error.to_string() },
    }
}

/// Runs the tasks, those that must be alone after the others; gives how many passed and failed.
fn run_tasks(tasks: Vec<Task>, at_once: usize) -> (usize, usize) {
    let (alone, beside): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|task| task.alone);
    let together = run_beside(beside, at_once);
    let last = run_beside(alone, 1);
    (together.0 + last.0, together.1 + last.1)
}

fn run_beside(tasks: Vec<Task>, at_once: usize) -> (usize, usize) {
    let queue = Mutex::new(VecDeque::from(tasks));
    let next = || queue.lock().ok()?.pop_front();
    let run_some = || {
        let (mut passed, mut failed) = (0, 0);
        while let Some(task) = next() {
            report(&Report::Begun { tier: task.tier.clone(), name: task.name.clone() });
            let done = task::run(&task);
            if done.outcome == Outcome::Passed {
                passed += 1;
            } else {
                failed += 1;
            }
            report(&Report::Done(done));
        }
        (passed, failed)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(run_some)).collect();
        let counts = workers.into_iter().filter_map(|worker| worker.join().ok());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    })
}
