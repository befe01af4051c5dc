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
}

impl Machine {
    pub(crate) fn this() -> Self {
        let table = fs::read_to_string("/proc/cpuinfo").unwrap();
        let model = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = run(std::process::Command::new("date").args(["--utc", "--iso-8601=minutes"])).ok().stdout;
        Self {
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            processors: processor::allowed().len(),
            kernel: uname().unwrap().release().to_string_lossy().into_owned(),
            date: date.trim().to_owned(),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, processors, kernel, date } = self;
        format!("{processors} processors ({processor}), Linux {kernel}, {date}")
    }

    pub(crate) fn document(&self) -> Value {
        let Self { processor, processors, kernel, date } = self;
        json!({ "processor": processor, "processors": processors, "kernel": kernel, "date": date })
    }
}
