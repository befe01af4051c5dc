//! What the numbers are from.

use std::fs;

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
    /// How many tasks wanted to run in the minute before.
    pub(crate) load: f64,
}

/// Tasks that may run beside the bench without being worth a word.
const IDLE: f64 = 0.5;

impl Machine {
    pub(crate) fn this() -> Self {
        let table = fs::read_to_string("/proc/cpuinfo").unwrap();
        let model = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = run(std::process::Command::new("date").args(["--utc", "--iso-8601=minutes"])).ok().stdout;
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        Self {
            load: load.split(' ').next().unwrap().parse().unwrap(),
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            processors: processor::allowed().len(),
            kernel: uname().unwrap().release().to_string_lossy().into_owned(),
            date: date.trim().to_owned(),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, processors, kernel, date, load: _ } = self;
        format!("{processors} processors ({processor}), Linux {kernel}, {date}")
    }

    pub(crate) fn document(&self) -> Value {
        let Self { processor, processors, kernel, date, load } = self;
        json!({ "processor": processor, "processors": processors, "kernel": kernel, "date": date, "load": load })
    }

    /// That something else was running when it began.
    pub(crate) fn warning(&self) -> Option<String> {
        let load = self.load;
        let text = || format!("busy with something else (load {load:.1}): do not trust these numbers");
        (load > IDLE).then(text)
    }
}
