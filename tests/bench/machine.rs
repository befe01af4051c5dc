//! What the numbers are from.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::utsname::uname;
use serde_json::{Value, json};
use tests::process::run;
use tests::processor;

/// The machine, its kernel, and when.
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) date: String,
    /// Share of the processors' time that something else took shortly before.
    pub(crate) busy: f64,
}

/// What may be taken without being worth a word.
const IDLE: f64 = 0.05;
/// How long it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// And again before a measurement of all processors: the kernel counts in hundredths of a second.
pub(crate) const GLANCE: Duration = Duration::from_millis(300);

impl Machine {
    pub(crate) fn this() -> Self {
        let table = fs::read_to_string("/proc/cpuinfo").unwrap();
        let model = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = run(std::process::Command::new("date").args(["--utc", "--iso-8601=minutes"])).ok().stdout;
        Self {
            busy: busy(LOOK),
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            processors: processor::allowed().len(),
            kernel: uname().unwrap().release().to_string_lossy().into_owned(),
            date: date.trim().to_owned(),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, processors, kernel, date, busy: _ } = self;
        format!("{processors} processors ({processor}), Linux {kernel}, {date}")
    }

    pub(crate) fn document(&self) -> Value {
        let Self { processor, processors, kernel, date, busy } = self;
        json!({ "processor": processor, "processors": processors, "kernel": kernel, "date": date, "busy": busy })
    }

    /// That something else was running when it began.
    pub(crate) fn warning(&self) -> Option<String> {
        told(self.busy).map(|busy| format!("{busy}: do not trust these numbers"))
    }
}

/// That something else runs now, while we do nothing.
pub(crate) fn others() -> Option<String> {
    told(busy(GLANCE))
}

fn told(busy: f64) -> Option<String> {
    (busy > IDLE).then(|| format!("{:.0} % busy with something else", busy * 100.0))
}

/// What the processors do while we do nothing. Not the load average, which remembers that the bench itself was just compiled.
fn busy(look: Duration) -> f64 {
    let (idle, all) = times();
    thread::sleep(look);
    let (idle_then, all_then) = times();
    1.0 - (idle_then - idle) / (all_then - all).max(1.0)
}

/// Ticks that all processors together were idle, or waited for a disk, and all of their ticks.
fn times() -> (f64, f64) {
    let table = fs::read_to_string("/proc/stat").unwrap();
    let total = table.lines().next().unwrap().split_whitespace().skip(1);
    let ticks: Vec<f64> = total.map(|number| number.parse().unwrap()).collect();
    // The last two are part of the first two.
    (ticks[3] + ticks[4], ticks[..8].iter().sum())
}
