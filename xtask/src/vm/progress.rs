//! What is seen while guests run: one line that changes on a terminal, else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use protocol::{Outcome, Report};

/// How often a line comes where none can be changed.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

/// Characters of a test's name on a terminal: a line that wraps cannot be changed.
const SHORT: usize = 16;

/// How far all guests are.
pub(crate) struct Progress {
    state: Mutex<State>,
    terminal: bool,
}

struct State {
    guests: Vec<Guest>,
    started: Instant,
    said: Instant,
}

/// How far one guest is.
struct Guest {
    name: String,
    total: usize,
    done: usize,
    failed: usize,
    now: String,
}

impl Progress {
    /// No guest yet.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let state = State { guests: Vec::new(), started: now, said: now };
        Self { state: Mutex::new(state), terminal: io::stdout().is_terminal() }
    }

    /// A guest begins; gives its number.
    pub(crate) fn begin(&self, name: &str, total: usize) -> usize {
        let Ok(mut state) = self.state.lock() else { return 0 };
        let now = "booting".to_owned();
        state.guests.push(Guest { name: name.to_owned(), total, done: 0, failed: 0, now });
        state.guests.len() - 1
    }

    /// A guest has reported.
    pub(crate) fn tell(&self, guest: usize, report: &Report) {
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(failure) = state.guests.get_mut(guest).and_then(|guest| guest.take(report)) {
            self.clear();
            println!("{failure}");
        }
        if self.terminal {
            print!("\r\x1b[K{}", state.line(SHORT));
            let _ = io::stdout().flush();
        } else if state.said.elapsed() >= NOW_AND_THEN {
            state.said = Instant::now();
            println!("{}", state.line(usize::MAX));
        }
    }

    /// A guest has ended, and its line goes.
    pub(crate) fn end(&self, guest: usize) {
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(guest) = state.guests.get_mut(guest) {
            "over".clone_into(&mut guest.now);
        }
        self.clear();
    }

    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }
}

impl State {
    fn line(&self, width: usize) -> String {
        let guests: Vec<String> = self.guests.iter().map(|guest| guest.line(width)).collect();
        format!("vm: {:>4} s  {}", self.started.elapsed().as_secs(), guests.join("  |  "))
    }
}

impl Guest {
    /// Takes in a report; gives a line for one of a failure.
    fn take(&mut self, report: &Report) -> Option<String> {
        match report {
            Report::Begun { tier, name } => self.now = format!("{tier} {name}"),
            Report::Done(done) => {
                self.done += 1;
                if let Some(how) = failure(&done.outcome) {
                    self.failed += 1;
                    let seconds = done.milliseconds / 1000;
                    return Some(format!(
                        "vm: {}: FAILED {} {} ({how}, after {seconds} s)",
                        self.name, done.tier, done.name
                    ));
                }
            }
            Report::Broken { reason } => return Some(format!("vm: {}: {reason}", self.name)),
            Report::Ready { .. } => "ready".clone_into(&mut self.now),
            Report::Missing { .. } | Report::Answer { .. } | Report::Alive | Report::End { .. } => {}
        }
        None
    }

    fn line(&self, width: usize) -> String {
        let Self { name, total, done, failed, now } = self;
        let now: String = now.chars().take(width).collect();
        let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
        format!("{name}: {done} of {total}{failed}, {now}")
    }
}

/// How a task failed, in a few words.
pub(crate) fn failure(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Passed => None,
        Outcome::Failed(how) => Some(how.clone()),
        Outcome::Hung => Some("hung, and was killed at its limit".to_owned()),
        Outcome::NotStarted(why) => Some(format!("could not be started: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::Done;

    use super::*;

    fn guest() -> Guest {
        Guest { name: "6.1".into(), total: 3, done: 0, failed: 0, now: "booting".into() }
    }

    #[test]
    fn line_says_how_far_and_what_runs_now() {
        let mut guest = guest();
        guest.take(&Report::Begun { tier: "system".into(), name: "ways::every".into() });
        assert_eq!(guest.line(usize::MAX), "6.1: 0 of 3, system ways::every");
        assert_eq!(guest.line(6), "6.1: 0 of 3, system");
    }

    #[test]
    fn failure_is_said_at_once() {
        let done = Done {
            tier: "cli".into(),
            name: "a::b".into(),
            outcome: Outcome::Hung,
            milliseconds: 180_400,
            measured: Vec::new(),
            tail: String::new(),
        };
        let mut guest = guest();
        let said = guest.take(&Report::Done(done)).unwrap();
        assert!(said.contains("FAILED cli a::b (hung") && said.contains("180 s"), "{said}");
        assert!(guest.line(0).starts_with("6.1: 1 of 3, 1 failed"));
    }
}
