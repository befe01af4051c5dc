//! What a guest's kernel prints, and what in it means that the guest is lost.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Lines that are shown of a guest that is lost.
const KEPT: usize = 25;

/// How the kernel says that a process is in its hands and does not come back.
const HUNG_TASK: &str = " blocked for more than ";

/// What went wrong in a kernel, with the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It stopped itself.
    Panic(String),
    /// It hit a bug and goes on, but nothing that it does from now on means anything.
    Oops(String),
    /// A processor or a process does not get on: a guest may recover when the machine was only busy.
    Stall(String),
}

/// The console of one guest, read while the machine writes it into a file.
pub(crate) struct Console {
    path: PathBuf,
    file: Option<File>,
    /// What has come after the last end of a line.
    rest: Vec<u8>,
    last: VecDeque<String>,
    /// The first panic, else the first oops, else the first stall.
    fault: Option<Fault>,
    /// Lines by which the kernel warns of itself and goes on.
    pub(crate) warnings: Vec<String>,
}

impl Console {
    /// The console that is written to this file, which need not be there yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            file: None,
            rest: Vec::new(),
            last: VecDeque::new(),
            fault: None,
            warnings: Vec::new(),
        }
    }

    /// Takes in what has come since.
    pub(crate) fn read(&mut self) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = self.file.as_mut() else { return };
        let mut bytes = Vec::new();
        // The file ends where the machine has written to; the next read goes on from there.
        let _ = file.read_to_end(&mut bytes);
        self.take(&bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.take_line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        let text = message(line);
        if text.starts_with("WARNING: CPU:") || text.contains(HUNG_TASK) {
            self.warnings.push(text.to_owned());
        }
        let new = fault_in(text);
        if rank(new.as_ref()) > rank(self.fault.as_ref()) {
            self.fault = new;
        }
    }

    /// What went wrong, if anything did.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let rest = String::from_utf8_lossy(&self.rest);
        let lines =
            self.last.iter().map(String::as_str).chain(Some(rest.trim_end()).filter(|rest| !rest.is_empty()));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The line without the kernel's time stamp.
fn message(line: &str) -> &str {
    let stamped = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamped.map_or(line, |(_, text)| text)
}

fn rank(fault: Option<&Fault>) -> u8 {
    match fault {
        None => 0,
        Some(Fault::Stall(_)) => 1,
        Some(Fault::Oops(_)) => 2,
        Some(Fault::Panic(_)) => 3,
    }
}

fn fault_in(text: &str) -> Option<Fault> {
    if let Some((_, why)) = text.split_once("Kernel panic - not syncing: ") {
        return Some(Fault::Panic(why.to_owned()));
    }
    // Before the other bugs: the watchdog calls these bugs too.
    let stalls = [
        "soft lockup",
        "hard LOCKUP",
        "workqueue lockup",
        "detected stall",
        "self-detected stall",
        HUNG_TASK,
    ];
    if stalls.iter().any(|stall| text.contains(stall)) {
        return Some(Fault::Stall(text.to_owned()));
    }
    let oopses = ["BUG: ", "Oops: ", "general protection fault", "kernel BUG at ", "invalid opcode: "];
    oopses.iter().any(|oops| text.contains(oops)).then(|| Fault::Oops(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Console {
        let mut console = Console::new(Path::new("/nonexistent"));
        for line in lines {
            console.take(format!("{line}\r\n").as_bytes());
        }
        console
    }

    #[test]
    fn kinds_of_fault_are_told_apart() {
        let of = |line: &str| after(&[line]).fault().cloned();
        assert_eq!(
            of("[    2.1] Kernel panic - not syncing: sysrq triggered crash"),
            Some(Fault::Panic("sysrq triggered crash".into()))
        );
        assert_eq!(
            of("[ 5.0] BUG: kernel NULL pointer dereference, address: 0000000000000000"),
            Some(Fault::Oops("BUG: kernel NULL pointer dereference, address: 0000000000000000".into()))
        );
        assert!(matches!(
            of("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [x:1]"),
            Some(Fault::Stall(_))
        ));
        assert!(matches!(of("rcu: INFO: rcu_preempt self-detected stall on CPU"), Some(Fault::Stall(_))));
        assert!(matches!(
            of("INFO: task modprobe:71 blocked for more than 120 seconds."),
            Some(Fault::Stall(_))
        ));
        assert!(matches!(of("Oops: 0002 [#1] PREEMPT SMP NOPTI"), Some(Fault::Oops(_))));
        assert_eq!(of("[ 0.3] Spectre V2 : Mitigation: Retpolines"), None);
        assert_eq!(of("netdp: BUGS are none"), None);
    }

    #[test]
    fn worst_is_kept_and_the_first_of_its_kind() {
        let console = after(&[
            "rcu: INFO: rcu_sched detected stalls on CPUs",
            "BUG: unable to handle page fault for address: 1",
            "Oops: 0000 [#1]",
            "Kernel panic - not syncing: Fatal exception in interrupt",
            "BUG: another",
        ]);
        assert_eq!(console.fault(), Some(&Fault::Panic("Fatal exception in interrupt".into())));
        let console = after(&["BUG: first", "Oops: second"]);
        assert_eq!(console.fault(), Some(&Fault::Oops("BUG: first".into())));
    }

    #[test]
    fn line_may_come_in_pieces_and_the_last_without_an_end() {
        let mut console = after(&["one"]);
        console.take(b"Kernel panic - not sync");
        assert_eq!(console.fault(), None);
        assert_eq!(console.tail(), "one\nKernel panic - not sync");
        console.take(b"ing: x\n");
        assert_eq!(console.fault(), Some(&Fault::Panic("x".into())));
    }

    #[test]
    fn warnings_are_no_faults_but_remembered() {
        let console = after(&["[ 9.0] WARNING: CPU: 1 PID: 5 at net/core/dev.c:1 x+0x1/0x2"]);
        assert_eq!(console.fault(), None);
        assert_eq!(console.warnings.len(), 1);
    }

    #[test]
    fn tail_is_the_last_lines_only() {
        let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        let console = after(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(console.tail().lines().count(), KEPT);
        assert!(console.tail().ends_with("line 99"));
    }
}
