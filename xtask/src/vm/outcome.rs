//! What one kernel did with the tests, and what it is like.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use protocol::{Done, Outcome, Report, Task};

use super::budgets::Verified;
use super::faults::VERIFIER;
use super::guest::{Ending, Guest};
use super::progress::failure;

/// What answers are counted with when they are wrong.
const QUESTION: &str = "question";

/// How a kernel or this machine answers the questions.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// What `netdp check` says: row by name, and whether the kernel has it.
    pub(crate) check: Vec<(String, bool)>,
    /// How programs are attached.
    pub(crate) modes: Option<String>,
    /// SHA-256 of netdp.
    pub(crate) netdp: Option<String>,
}

/// All that a guest's reports come to.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) release: String,
    pub(crate) answers: Answers,
    pub(crate) verified: Vec<Verified>,
    /// Passed and all, by tier.
    pub(crate) tiers: BTreeMap<String, (usize, usize)>,
    pub(crate) failures: Vec<Done>,
    /// Tests that the guest did not get to, or did not end: the last ones of these when it was lost.
    pub(crate) unfinished: Vec<String>,
    /// Modules that the kernel does not have, or could not load.
    pub(crate) lacking: Vec<String>,
    /// What modprobe said of those that it could not load.
    pub(crate) not_loaded: BTreeMap<String, String>,
    /// Whether the test that loads every program came to its end.
    pub(crate) programs_tried: bool,
    pub(crate) ending: Ending,
    pub(crate) console: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) time: Duration,
}

impl Answers {
    /// Takes in an answer by the name of its question.
    pub(crate) fn take(&mut self, name: &str, output: &str) {
        match name {
            "check" => self.check = check_rows(output),
            "status" => self.modes = modes(output),
            "netdp" => self.netdp = output.split(' ').next().map(str::to_owned),
            _ => {}
        }
    }

    /// Whether an answer came to anything. The exit status of `check` says what the kernel is like, not whether it was
    /// asked.
    fn has(&self, name: &str, code: Option<i32>) -> bool {
        match name {
            "check" => !self.check.is_empty(),
            "status" => self.modes.is_some() && code == Some(0),
            _ => code == Some(0),
        }
    }
}

fn check_rows(output: &str) -> Vec<(String, bool)> {
    let rows: Vec<Value> = serde_json::from_str(output).unwrap_or_default();
    let row = |row: Value| Some((row["name"].as_str()?.to_owned(), row["ok"].as_bool()?));
    rows.into_iter().filter_map(row).collect()
}

fn modes(output: &str) -> Option<String> {
    let status: Value = serde_json::from_str(output).ok()?;
    let modes = status["features"]["attach_modes"].as_array()?.iter().filter_map(Value::as_str);
    Some(modes.collect::<Vec<_>>().join(", "))
}

impl Results {
    /// Adds up what a guest reported of its tasks.
    pub(crate) fn of(release: &str, guest: Guest, tasks: &[Task], lacking: Vec<String>) -> Self {
        let mut results = Self {
            release: release.to_owned(),
            answers: Answers::default(),
            verified: Vec::new(),
            tiers: BTreeMap::new(),
            failures: Vec::new(),
            unfinished: tasks.iter().map(name).collect(),
            lacking,
            not_loaded: BTreeMap::new(),
            programs_tried: false,
            ending: guest.ending,
            console: guest.console,
            warnings: guest.warnings,
            time: guest.time,
        };
        for task in tasks {
            results.tiers.entry(task.tier.clone()).or_default().1 += 1;
        }
        for report in guest.reports {
            results.take(report);
        }
        results
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Answer { name, code, output, error } => {
                self.answers.take(&name, &output);
                if !self.answers.has(&name, code) {
                    let how = code.map_or("no exit status".to_owned(), |code| format!("exit status {code}"));
                    self.failures.push(wrong(&name, format!("no answer that can be read ({how})"), error));
                }
            }
            Report::Missing { modules } => {
                let new = modules.keys().filter(|name| !self.lacking.contains(name)).cloned();
                let new: Vec<String> = new.collect();
                self.lacking.extend(new);
                self.not_loaded = modules;
            }
            Report::Done(done) => self.take_done(done),
            Report::Ready { .. }
            | Report::Begun { .. }
            | Report::Alive
            | Report::End { .. }
            | Report::Broken { .. } => {}
        }
    }

    fn take_done(&mut self, done: Done) {
        let name = format!("{} {}", done.tier, done.name);
        self.unfinished.retain(|unfinished| *unfinished != name);
        self.programs_tried |= done.name == VERIFIER;
        self.verified.extend(done.measured.iter().filter_map(|line| Verified::parse(line)));
        if done.outcome == Outcome::Passed {
            self.tiers.entry(done.tier).or_default().0 += 1;
        } else {
            self.failures.push(done);
        }
    }

    /// A guest that ran another netdp than this machine has proves nothing about this one.
    pub(crate) fn compare(&mut self, running: &Answers) {
        if let (Some(here), Some(there)) = (&running.netdp, &self.answers.netdp)
            && here != there
        {
            let why = format!("the guest's netdp has the SHA-256 {there}, that of this machine {here}");
            self.failures.push(wrong("netdp", why, String::new()));
        }
    }

    /// How many tests passed.
    pub(crate) fn passed(&self) -> usize {
        self.tiers.values().map(|(passed, _)| passed).sum()
    }

    /// How many did not: those that failed, and those that a lost guest never ran. A guest that is lost with all of
    /// its tests done is one failure.
    pub(crate) fn failed(&self) -> usize {
        let lost = usize::from(self.ending != Ending::Finished);
        self.failures.len() + self.unfinished.len().max(lost)
    }
}

/// A question whose answer is a failure, with what the command wrote to stderr.
fn wrong(name: &str, why: String, error: String) -> Done {
    Done {
        tier: QUESTION.to_owned(),
        name: name.to_owned(),
        outcome: Outcome::Failed(why),
        milliseconds: 0,
        measured: Vec::new(),
        tail: error,
    }
}

fn name(task: &Task) -> String {
    format!("{} {}", task.tier, task.name)
}

/// Why a test failed, in one line: what its panic says, else how it ended.
pub(crate) fn reason(done: &Done) -> String {
    let mut lines = done.tail.lines();
    let panicked = lines.by_ref().any(|line| line.contains(" panicked at "));
    let said = lines.find(|line| !line.trim().is_empty()).filter(|_| panicked);
    let how = failure(&done.outcome).unwrap_or_default();
    match (said, &done.outcome) {
        (Some(said), Outcome::Failed(_)) => said.trim().to_owned(),
        _ => how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> Task {
        Task {
            tier: "system".into(),
            name: name.into(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            says: None,
            limit: 1,
            alone: false,
        }
    }

    fn done(name: &str, outcome: Outcome, tail: &str) -> Done {
        Done {
            tier: "system".into(),
            name: name.into(),
            outcome,
            milliseconds: 1,
            measured: vec!["verified 6.1 x 7".into()],
            tail: tail.into(),
        }
    }

    fn guest(ending: Ending, reports: Vec<Report>) -> Guest {
        Guest { ending, reports, console: String::new(), warnings: Vec::new(), time: Duration::ZERO }
    }

    #[test]
    fn tests_that_a_lost_guest_never_ran_have_failed() {
        let reports = vec![Report::Done(done("a", Outcome::Passed, ""))];
        let tasks = [task("a"), task("b"), task("c")];
        let results = Results::of("6.1", guest(Ending::Panic("x".into()), reports), &tasks, Vec::new());
        assert_eq!((results.passed(), results.failed()), (1, 2));
        assert_eq!(results.unfinished, ["system b", "system c"]);
        assert_eq!(results.verified.len(), 1);
    }

    #[test]
    fn guest_that_is_lost_at_its_end_is_a_failure_and_one_that_finished_is_none() {
        let reports = || vec![Report::Done(done("a", Outcome::Passed, ""))];
        let lost = Results::of("6.1", guest(Ending::PoweredOff, reports()), &[task("a")], Vec::new());
        assert_eq!((lost.passed(), lost.failed()), (1, 1));
        let well = Results::of("6.1", guest(Ending::Finished, reports()), &[task("a")], Vec::new());
        assert_eq!((well.passed(), well.failed()), (1, 0));
    }

    #[test]
    fn reason_is_what_the_panic_says() {
        let tail = "bed\nthread 'main' (7) panicked at tests/a.rs:5:1:\n\nfrom_container: too large\nstack";
        let failed = |tail| done("a", Outcome::Failed("exit status: 101".into()), tail);
        assert_eq!(reason(&failed(tail)), "from_container: too large");
        assert_eq!(reason(&failed("nothing")), "exit status: 101");
        assert!(reason(&done("a", Outcome::Hung, tail)).contains("hung"));
    }

    #[test]
    fn answers_are_read_from_what_netdp_prints() {
        let mut answers = Answers::default();
        answers.take("check", r#"[{"name":"TCX","ok":false,"required":false,"detail":""}]"#);
        answers.take("status", r#"{"features":{"attach_modes":["clsact"]}}"#);
        answers.take("netdp", "abc  /usr/local/bin/netdp\n");
        assert_eq!(answers.check, [("TCX".to_owned(), false)]);
        assert_eq!(answers.modes.as_deref(), Some("clsact"));
        assert_eq!(answers.netdp.as_deref(), Some("abc"));
        answers.take("status", "error: not up");
        assert_eq!(answers.modes, None);
    }

    fn answer(name: &str, code: i32, output: &str) -> Report {
        let (name, output) = (name.to_owned(), output.to_owned());
        Report::Answer { name, code: Some(code), output, error: "it crashed".into() }
    }

    #[test]
    fn answer_that_cannot_be_read_is_a_failure_with_what_was_said() {
        let good = r#"[{"name":"TCX","ok":false,"required":false,"detail":""}]"#;
        let reports = vec![
            answer("netdp", 0, "abc  netdp"),
            answer("check", 3, good),
            answer("status", 1, "error: not up"),
        ];
        let results = Results::of("6.1", guest(Ending::Finished, reports), &[], Vec::new());
        assert_eq!(results.failed(), 1);
        assert_eq!(results.failures[0].name, "status");
        assert_eq!(results.failures[0].tail, "it crashed");
        let crashed = vec![answer("check", 139, "")];
        assert_eq!(Results::of("6.1", guest(Ending::Finished, crashed), &[], Vec::new()).failed(), 1);
    }

    #[test]
    fn another_netdp_in_the_guest_is_a_failure() {
        let reports = vec![answer("netdp", 0, "abc  netdp")];
        let mut results = Results::of("6.1", guest(Ending::Finished, reports), &[], Vec::new());
        let here = |sum: &str| Answers { netdp: Some(sum.into()), ..Answers::default() };
        results.compare(&here("abc"));
        assert_eq!(results.failed(), 0);
        results.compare(&here("def"));
        assert_eq!(results.failed(), 1);
        assert!(reason(&results.failures[0]).contains("abc"));
    }

    #[test]
    fn missing_module_is_named_once_with_what_modprobe_said() {
        let said = BTreeMap::from([("sctp".to_owned(), "not found in directory".to_owned())]);
        let reports = vec![Report::Missing { modules: said.clone() }];
        let results = Results::of("6.1", guest(Ending::Finished, reports), &[], vec!["sctp".into()]);
        assert_eq!(results.lacking, ["sctp"]);
        assert_eq!(results.not_loaded, said);
    }

    #[test]
    fn programs_are_tried_when_the_test_that_loads_them_ended() {
        let of = |name: &str| {
            let reports = vec![Report::Done(done(name, Outcome::Passed, ""))];
            Results::of("6.1", guest(Ending::Finished, reports), &[], Vec::new()).programs_tried
        };
        assert!(of(VERIFIER) && !of("a"));
    }
}
