//! `--self-test`: what goes wrong on purpose in real boots must be reported for what it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use protocol::{Fault, Job, Outcome, Report, Task};

use super::guest::{Guest, Limits};
use super::kernel::Kernel;
use super::lab::{Boot, Lab};
use super::outcome::reason;
use super::qemu::Accel;
use super::{PATIENCE, chosen, modules};
use crate::toolchain::Toolchain;

/// The test that loads every program and says why one is refused.
pub(crate) const VERIFIER: &str = "verifier::no_program_outgrows_its_budget";
/// Where the guest has the objects that are broken on purpose.
const OBJECTS: &str = "/faults";
/// How long the first report of a guest that is silent on purpose is waited for: two boots of one that is not.
const SILENT: Duration = Duration::from_secs(20);
/// The same for its next report: two heartbeats.
const SILENT_LATER: Duration = Duration::from_secs(12);

/// Objects that are broken on purpose, what is wrong with them, and what the report must say.
const BROKEN: [(&str, &str, &str); 2] = [
    ("too_big", "a program made too big", "too large for the kernel's verifier"),
    ("unknown_helper", "a helper that the kernel does not know", "needs the helper"),
];

/// What guests do wrong by themselves, and what the tool must say of it.
const LOST: [(Fault, &str, &str); 4] = [
    (Fault::Panic, "a kernel panic", "kernel panic: sysrq triggered crash"),
    (Fault::InitEnds, "an init that crashes", "kernel panic: Attempted to kill init!"),
    (Fault::Silence, "a guest that never answers", "the guest never answered"),
    (Fault::SilenceAfterReady, "a guest that stops answering", "the guest stopped answering"),
];

/// How one of these came out.
pub(crate) struct Caught {
    what: &'static str,
    wanted: &'static str,
    said: String,
}

impl Caught {
    /// Whether the tool said what it is.
    pub(crate) fn passed(&self) -> bool {
        self.said.contains(self.wanted)
    }

    fn print(&self) {
        let Self { what, wanted, said } = self;
        if self.passed() {
            println!("self-test: {what} is reported as: {said}");
        } else {
            println!("self-test: FAILED: {what} is reported as: {said}; it should say: {wanted}");
        }
    }
}

/// All of them, and how long they took.
pub(crate) fn run(
    lab: &Lab,
    kernel: &Kernel,
    accel: Accel,
    toolchain: &Toolchain,
) -> Result<(Vec<Caught>, Duration)> {
    let begin = Instant::now();
    let mut all = in_tests(lab, kernel, accel, toolchain)?;
    for (fault, what, wanted) in LOST {
        let name = format!("{}-{fault:?}", kernel.release).to_lowercase();
        let boot = Boot { kernel, accel, name, full: false, files: Vec::new(), limits: limits(fault) };
        let guest = lab.boot(&boot, &Job { fault: Some(fault), ..Job::default() }, &mut |_| {})?;
        all.push(Caught { what, wanted, said: guest.ending.words() });
    }
    all.iter().for_each(Caught::print);
    Ok((all, begin.elapsed()))
}

/// Only silence from the start has to be waited for: every other guest gets the time that a slow machine needs to boot.
fn limits(fault: Fault) -> Limits {
    let first = match fault {
        Fault::Silence => SILENT,
        Fault::Panic | Fault::InitEnds | Fault::SilenceAfterReady => PATIENCE.first,
    };
    Limits { first, silence: SILENT_LATER, ..PATIENCE }
}

/// What goes wrong within tests: one guest for all of them.
fn in_tests(lab: &Lab, kernel: &Kernel, accel: Accel, toolchain: &Toolchain) -> Result<Vec<Caught>> {
    let (mut files, mut tasks) = (Vec::new(), Vec::new());
    for (name, ..) in BROKEN {
        let object = PathBuf::from(format!("{OBJECTS}/{name}.o"));
        tasks.push(with_object(name, &object));
        files.push((object, lab.broken_object(toolchain, name)?));
    }
    tasks.push(shell("hang", "set -m; sleep 600 & wait"));
    tasks.push(shell("left", "! grep -qxs sleep /proc/[0-9]*/comm"));
    let job = Job { modules: modules::loaded_first(), tasks, ..Job::default() };
    let name = format!("{}-broken", kernel.release);
    let boot = Boot { kernel, accel, name, full: true, files, limits: PATIENCE };
    let guest = lab.boot(&boot, &job, &mut |_| {})?;
    let hangs = ("hang", "a test that hangs", "hung, and was killed at its limit");
    let left = ("left", "a test that looks for what the hung one left running", "passed");
    let caught = BROKEN.into_iter().chain([hangs, left]);
    Ok(caught.map(|(name, what, wanted)| Caught { what, wanted, said: said_of(&guest, name) }).collect())
}

/// What the guest reported of a task, else how it ended.
fn said_of(guest: &Guest, name: &str) -> String {
    let of = |report: &Report| match report {
        Report::Done(done) if done.name == name && done.outcome == Outcome::Passed => {
            Some("passed".to_owned())
        }
        Report::Done(done) if done.name == name => Some(reason(done)),
        _ => None,
    };
    guest.reports.iter().find_map(of).unwrap_or_else(|| guest.ending.words())
}

fn with_object(name: &str, object: &Path) -> Task {
    let command = [&format!("{}/datapath", chosen::TESTS), "--exact", VERIFIER, "--nocapture"];
    Task {
        tier: "self-test".to_owned(),
        name: name.to_owned(),
        command: command.map(str::to_owned).into(),
        environment: BTreeMap::from([("NETDP_OBJECT".to_owned(), object.display().to_string())]),
        says: Some("test result: ok. 1 passed".to_owned()),
        limit: 120,
        alone: false,
    }
}

/// A line for the shell, with a limit that a line that does not hang stays below.
fn shell(name: &str, line: &str) -> Task {
    Task {
        tier: "self-test".to_owned(),
        name: name.to_owned(),
        command: ["bash", "-c", line].map(str::to_owned).into(),
        environment: BTreeMap::new(),
        says: None,
        limit: 5,
        alone: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_silent_guest_has_less_time_for_its_first_report() {
        assert_eq!(limits(Fault::Silence).first, SILENT);
        for fault in [Fault::Panic, Fault::InitEnds, Fault::SilenceAfterReady] {
            assert_eq!(limits(fault).first, PATIENCE.first);
        }
    }
}
