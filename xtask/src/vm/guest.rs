//! One boot: the machine is started, watched, and always ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use protocol::Report;

use super::console::{Console, Fault};
use super::qemu::Machine;

/// How often the console is looked at.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a kernel that is lost may go on printing why.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a guest that has done all of its job may take to power off.
const POWER_OFF: Duration = Duration::from_secs(5);

/// How long a guest may say nothing, and how long it may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the start to its first report.
    pub(crate) first: Duration,
    /// From one report to the next; a guest that is well reports every few seconds.
    pub(crate) silence: Duration,
    /// From the start to its end: one in which something hangs for ever goes on reporting that it is well.
    pub(crate) total: Duration,
}

/// Why a guest is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did all of its job and powered off.
    Finished,
    /// Its kernel panicked.
    Panic(String),
    /// Its kernel hit a bug.
    Oops(String),
    /// Its kernel said that a processor does not get on, and reports stopped.
    Stall(String),
    /// No report ever came.
    NeverAnswered(Duration),
    /// Reports stopped.
    StoppedAnswering(Duration),
    /// It reported to the last, and did not come to an end.
    TooLong(Duration),
    /// Its init could not go on.
    Broken(String),
    /// It powered off before its job was done.
    PoweredOff,
    /// qemu refused to run it.
    NotStarted(String),
    /// qemu was killed, or gave up, while it ran.
    QemuDied(String),
    /// It did not come to a boot, or nobody could watch it.
    Error(String),
}

impl Ending {
    /// What it was, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Finished => "finished".to_owned(),
            Self::Panic(why) => format!("kernel panic: {why}"),
            Self::Oops(why) => format!("the kernel hit a bug: {why}"),
            Self::Stall(why) => format!("the kernel hangs: {why}"),
            Self::NeverAnswered(time) => {
                format!("the guest never answered: no report within {} s of its start", time.as_secs())
            }
            Self::StoppedAnswering(time) => {
                format!("the guest stopped answering: no report for {} s", time.as_secs())
            }
            Self::TooLong(time) => {
                format!(
                    "the guest took too long: it was ended after {} s, its time for all tests",
                    time.as_secs()
                )
            }
            Self::Broken(why) => format!("the guest's init could not go on: {why}"),
            Self::PoweredOff => "the guest powered off before its job was done".to_owned(),
            Self::NotStarted(why) => format!("qemu did not run it: {why}"),
            Self::QemuDied(why) => format!("qemu died while it ran the guest: {why}"),
            Self::Error(why) => format!("no guest could be run: {why}"),
        }
    }
}

/// What became of a boot.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) ending: Ending,
    pub(crate) reports: Vec<Report>,
    /// The last lines of the console.
    pub(crate) console: String,
    /// Lines by which the kernel warned of itself.
    pub(crate) warnings: Vec<String>,
    pub(crate) time: Duration,
}

impl Guest {
    /// Whether it came as far as a test: what ends it from then on may be the programs' doing, and stands.
    pub(crate) fn began(&self) -> bool {
        self.ending == Ending::Finished
            || self.reports.iter().any(|report| matches!(report, Report::Begun { .. }))
    }
}

/// qemu while it runs; it is killed and reaped when this goes, by its own number.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What decides how a guest ended, apart from the guest itself.
struct Watch {
    started: Instant,
    limits: Limits,
    last: Option<Instant>,
    /// When the console said that it is lost.
    lost: Option<Instant>,
    /// When it reported that all was done.
    done: Option<Instant>,
}

impl Watch {
    /// How it ended, if it has to be ended now.
    fn verdict(&self, now: Instant, fault: Option<&Fault>) -> Option<Ending> {
        let silent = now - self.last.unwrap_or(self.started);
        let time = now - self.started;
        match fault {
            Some(fault @ (Fault::Panic(_) | Fault::Oops(_))) => {
                let over = self.lost.is_some_and(|lost| now - lost >= LAST_WORDS);
                over.then(|| fatal(fault))
            }
            _ if self.done.is_some() => {
                self.done.filter(|done| now - *done >= POWER_OFF).map(|_| Ending::Finished)
            }
            _ if time >= self.limits.total => Some(Ending::TooLong(time)),
            Some(fault @ Fault::Stall(_)) => (silent >= self.limit()).then(|| fatal(fault)),
            None if silent < self.limit() => None,
            None if self.last.is_none() => Some(Ending::NeverAnswered(silent)),
            None => Some(Ending::StoppedAnswering(silent)),
        }
    }

    fn limit(&self) -> Duration {
        if self.last.is_none() { self.limits.first } else { self.limits.silence }
    }
}

fn fatal(fault: &Fault) -> Ending {
    match fault {
        Fault::Panic(why) => Ending::Panic(why.clone()),
        Fault::Oops(why) => Ending::Oops(why.clone()),
        Fault::Stall(why) => Ending::Stall(why.clone()),
    }
}

/// How it ended when qemu has ended by itself.
fn ended(
    reports: &[Report],
    tasks: usize,
    fault: Option<&Fault>,
    status: Option<ExitStatus>,
    qemu_says: &str,
) -> Ending {
    let died = status.filter(|status| !status.success());
    let broken = reports.iter().find_map(|report| match report {
        Report::Broken { reason } => Some(reason.clone()),
        _ => None,
    });
    match (fault, broken) {
        (Some(fault @ (Fault::Panic(_) | Fault::Oops(_))), _) => fatal(fault),
        (_, Some(reason)) => Ending::Broken(reason),
        // A heartbeat may come after it.
        _ if reports.iter().any(|report| matches!(report, Report::End { .. })) => Ending::Finished,
        _ => match died {
            // By itself, before anything ran: it did not like what it was told, and says so.
            Some(status) if reports.is_empty() && status.code().is_some() => {
                Ending::NotStarted(with_status(status, qemu_says))
            }
            Some(status) => Ending::QemuDied(with_status(status, qemu_says)),
            None if reports.is_empty() && !qemu_says.is_empty() => Ending::NotStarted(qemu_says.to_owned()),
            // Its last word was lost on the serial port, as was seen once.
            None if all_told(reports, tasks) => Ending::Finished,
            None => Ending::PoweredOff,
        },
    }
}

/// Whether each task of a job that has some has said what became of it.
fn all_told(reports: &[Report], tasks: usize) -> bool {
    tasks > 0 && reports.iter().filter(|report| matches!(report, Report::Done(_))).count() == tasks
}

fn with_status(status: ExitStatus, qemu_says: &str) -> String {
    if qemu_says.is_empty() { status.to_string() } else { format!("{status}: {qemu_says}") }
}

/// The exit status of qemu, whose output has ended: so has it, or it does within moments.
fn exit_status(qemu: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + LAST_WORDS;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = qemu.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Boots a machine with a job of so many tasks and watches it to its end. Every report is shown to `tell` as it comes,
/// and kept in `log`.
pub(crate) fn run(
    machine: &Machine,
    tasks: usize,
    limits: Limits,
    log: &Path,
    tell: &mut dyn FnMut(&Report),
) -> Result<Guest> {
    // qemu cuts it too, but after we may have looked.
    fs::write(machine.console, "").with_context(|| format!("cannot write {}", machine.console.display()))?;
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let started = Instant::now();
    let child = machine.command().spawn().context("cannot start setpriv (Debian package util-linux)")?;
    let mut running = Running(child);
    let lines = read_lines(running.0.stdout.take().context("qemu has no stdout")?);
    let errors = collect(running.0.stderr.take().context("qemu has no stderr")?);
    let mut watch = Watch { started, limits, last: None, lost: None, done: None };
    let mut console = Console::new(machine.console);
    let mut reports = Vec::new();
    let ending = loop {
        let line = lines.recv_timeout(GLANCE);
        console.read();
        let now = Instant::now();
        match line {
            Ok(line) => {
                writeln!(log, "{line}").context("cannot write the log of reports")?;
                if let Some(report) = Report::from_line(&line) {
                    watch.last = Some(now);
                    if matches!(report, Report::End { .. }) {
                        watch.done = Some(now);
                    }
                    tell(&report);
                    reports.push(report);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = exit_status(&mut running.0);
                console.read();
                let qemu_says = errors.recv_timeout(LAST_WORDS).unwrap_or_default();
                break ended(&reports, tasks, console.fault(), status, &qemu_says);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if matches!(console.fault(), Some(Fault::Panic(_) | Fault::Oops(_))) {
            watch.lost.get_or_insert(now);
        }
        if let Some(ending) = watch.verdict(now, console.fault()) {
            break ending;
        }
    };
    drop(running);
    console.read();
    Ok(Guest {
        ending,
        reports,
        console: console.tail(),
        warnings: console.warnings,
        time: started.elapsed(),
    })
}

fn read_lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(std::result::Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    receive
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).trim().to_owned());
    });
    receive
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use protocol::{Done, Outcome};

    use super::*;

    const LIMITS: Limits = Limits {
        first: Duration::from_mins(1),
        silence: Duration::from_secs(30),
        total: Duration::from_mins(10),
    };

    fn after(seconds: u64, last: Option<u64>, lost: Option<u64>, fault: Option<&Fault>) -> Option<Ending> {
        let started = Instant::now();
        let at = |seconds: u64| started + Duration::from_secs(seconds);
        let watch = Watch { started, limits: LIMITS, last: last.map(at), lost: lost.map(at), done: None };
        watch.verdict(at(seconds), fault)
    }

    fn done() -> Report {
        Report::Done(Done {
            tier: "system".into(),
            name: "x::y".into(),
            outcome: Outcome::Passed,
            milliseconds: 1,
            measured: Vec::new(),
            tail: String::new(),
        })
    }

    #[test]
    fn silence_from_the_start_and_later_silence_are_told_apart() {
        assert_eq!(after(59, None, None, None), None);
        assert_eq!(after(60, None, None, None), Some(Ending::NeverAnswered(LIMITS.first)));
        assert_eq!(after(89, Some(60), None, None), None);
        assert_eq!(after(90, Some(60), None, None), Some(Ending::StoppedAnswering(LIMITS.silence)));
    }

    #[test]
    fn panic_and_oops_end_a_guest_after_its_last_words() {
        let panic = Fault::Panic("x".into());
        assert_eq!(after(12, Some(10), Some(10), Some(&panic)), None);
        assert_eq!(after(13, Some(10), Some(10), Some(&panic)), Some(Ending::Panic("x".into())));
        let oops = Fault::Oops("y".into());
        assert_eq!(after(13, Some(13), Some(10), Some(&oops)), Some(Ending::Oops("y".into())));
    }

    #[test]
    fn stall_ends_a_guest_only_when_reports_stop() {
        let stall = Fault::Stall("z".into());
        assert_eq!(after(500, Some(480), None, Some(&stall)), None);
        assert_eq!(after(510, Some(480), None, Some(&stall)), Some(Ending::Stall("z".into())));
    }

    #[test]
    fn end_of_qemu_means_what_came_before_it() {
        let end = [Report::End { passed: 1, failed: 0 }];
        let well = Some(ExitStatus::from_raw(0));
        assert_eq!(ended(&end, 2, None, well, ""), Ending::Finished);
        let beat_after = [Report::End { passed: 1, failed: 0 }, Report::Alive];
        assert_eq!(ended(&beat_after, 2, None, well, ""), Ending::Finished);
        assert_eq!(ended(&[Report::Alive], 2, None, well, "warning"), Ending::PoweredOff);
        let told = [done(), done(), Report::Alive];
        assert_eq!(ended(&told, 2, None, well, ""), Ending::Finished);
        assert_eq!(ended(&told, 3, None, well, ""), Ending::PoweredOff);
        assert_eq!(ended(&[Report::Alive], 0, None, well, ""), Ending::PoweredOff);
        let panic = Fault::Panic("Attempted to kill init!".into());
        assert_eq!(ended(&end, 2, Some(&panic), well, ""), Ending::Panic("Attempted to kill init!".into()));
        let broken = [Report::Broken { reason: "no job".into() }];
        assert_eq!(ended(&broken, 2, None, well, ""), Ending::Broken("no job".into()));
    }

    #[test]
    fn qemu_that_dies_is_told_from_a_guest_that_powers_off() {
        let status = |raw| Some(ExitStatus::from_raw(raw));
        let killed = ended(&[Report::Alive], 2, None, status(9), "");
        assert!(matches!(&killed, Ending::QemuDied(why) if why.contains("signal: 9")), "{killed:?}");
        let gave_up = ended(&[Report::Alive], 2, None, status(1 << 8), "qemu: out of memory");
        assert_eq!(gave_up, Ending::QemuDied("exit status: 1: qemu: out of memory".into()));
        let refused = ended(&[], 2, None, status(1 << 8), "qemu: cannot set up memory");
        assert_eq!(refused, Ending::NotStarted("exit status: 1: qemu: cannot set up memory".into()));
    }

    #[test]
    fn guest_that_reports_for_ever_is_ended() {
        assert_eq!(after(599, Some(598), None, None), None);
        assert_eq!(after(600, Some(599), None, None), Some(Ending::TooLong(LIMITS.total)));
        let stall = Fault::Stall("INFO: task x:1 blocked for more than 120 seconds.".into());
        assert_eq!(after(600, Some(599), None, Some(&stall)), Some(Ending::TooLong(LIMITS.total)));
    }

    #[test]
    fn guest_that_is_done_has_finished_even_when_it_does_not_power_off() {
        let started = Instant::now();
        let done = started + LIMITS.total;
        let watch = Watch { started, limits: LIMITS, last: Some(done), lost: None, done: Some(done) };
        assert_eq!(watch.verdict(done, None), None);
        assert_eq!(watch.verdict(done + POWER_OFF, None), Some(Ending::Finished));
    }
}
