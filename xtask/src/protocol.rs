//! What `cargo xtask vm` and the init of its guests say to each other: a [`Job`] in, [`Report`]s out.
//!
//! A report is one line of JSON on the guest's second serial port, where the kernel prints nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the job lies in the guest.
pub const JOB: &str = "/job.json";
/// Where the guest's init writes its reports.
pub const REPORTS: &str = "/dev/ttyS1";
/// Seconds between two [`Report::Alive`].
pub const HEARTBEAT: u64 = 5;

/// All that a guest is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Modules that are loaded first, by name.
    pub modules: Vec<String>,
    /// What is asked of the guest before the tasks.
    pub questions: Vec<Question>,
    /// What is run, in this order.
    pub tasks: Vec<Task>,
    /// How many of the tasks run beside one another, those apart that must be alone.
    pub at_once: usize,
    /// What goes wrong on purpose, before anything is reported.
    pub fault: Option<Fault>,
}

/// A command whose output is an answer about the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What the answer is called in [`Report::Answer`].
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A command that passes or fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it is counted with.
    pub tier: String,
    /// Its name there.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables of its environment, beside those of the init.
    pub environment: BTreeMap<String, String>,
    /// What its output must hold, beside an exit status of 0: a test that is filtered out succeeds as well.
    pub says: Option<String>,
    /// Seconds after which it is killed with all that it started.
    pub limit: u64,
    /// Whether nothing may run beside it, because it measures.
    pub alone: bool,
}

/// What a guest does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The kernel panics.
    Panic,
    /// The init ends, which a kernel does not survive either.
    InitEnds,
    /// Nothing is ever reported.
    Silence,
    /// Reports end in the middle.
    SilenceAfterReady,
}

/// One line from the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The init runs.
    Ready {
        /// Release of the kernel, as `uname -r` prints it.
        kernel: String,
    },
    /// Modules that could not be loaded, and why.
    Missing {
        /// What modprobe said, by module.
        modules: BTreeMap<String, String>,
    },
    /// Answer to a question.
    Answer {
        /// The question's name.
        name: String,
        /// Exit status; `None` when it was killed or could not be started.
        code: Option<i32>,
        /// Standard output.
        output: String,
        /// Standard error, or why it could not be started.
        error: String,
    },
    /// A task begins.
    Begun {
        /// What it is counted with.
        tier: String,
        /// Its name there.
        name: String,
    },
    /// A task has ended.
    Done(Done),
    /// Nothing happened for [`HEARTBEAT`] seconds, and the guest is well.
    Alive,
    /// All was done.
    End {
        /// Tasks that passed.
        passed: usize,
        /// Tasks that failed.
        failed: usize,
    },
    /// The init itself could not go on.
    Broken {
        /// What stopped it.
        reason: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What it is counted with.
    pub tier: String,
    /// Its name there.
    pub name: String,
    /// Passed, or how it failed.
    pub outcome: Outcome,
    /// How long it took.
    pub milliseconds: u64,
    /// What it measured, one line each.
    pub measured: Vec<String>,
    /// The end of what it printed; empty when it passed.
    pub tail: String,
}

/// Passed, or how it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Exit status 0, and it said what it had to.
    Passed,
    /// Another exit status, or a signal, or it did not say what it had to.
    Failed(String),
    /// It did not end within its limit and was killed.
    Hung,
    /// It could not be started.
    NotStarted(String),
}

impl Job {
    /// As it is written into the guest's root.
    ///
    /// # Errors
    /// None that these types can cause; serde reports them all the same.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

impl Report {
    /// One line of JSON, with its end.
    ///
    /// # Errors
    /// None that these types can cause; serde reports them all the same.
    pub fn to_line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The report in a line; `None` when the line is none.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let done = Done {
            tier: "system".into(),
            name: "ways::all".into(),
            outcome: Outcome::Failed("exit status: 101".into()),
            milliseconds: 12,
            measured: vec!["verified 6.1 x 5".into()],
            tail: "a\n\"b\"\r\n\u{1b}[0m".into(),
        };
        for report in [Report::Alive, Report::Done(done), Report::End { passed: 1, failed: 0 }] {
            let line = report.to_line().unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            // A serial line ends its lines with both.
            assert_eq!(Report::from_line(&line.replace('\n', "\r\n")), Some(report));
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        for line in ["", "[    1.0] random: crng init done", "{\"report\":\"done\"", "{}"] {
            assert_eq!(Report::from_line(line), None, "{line}");
        }
    }
}
