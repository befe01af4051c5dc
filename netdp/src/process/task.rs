//! A process of the kernel, told from a later one with the same number.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process by its number and the moment of its start: numbers are used again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Task {
    /// Its number.
    pub pid: u32,
    /// Clock ticks from the boot to its start.
    pub since: u64,
}

impl Task {
    /// The one that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        let (_, since) = look(pid)?;
        Some(Self { pid, since })
    }

    /// This very process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self::of(pid).unwrap_or(Self { pid, since: 0 })
    }

    /// Whether it still runs; one that has ended and waits to be reaped does not.
    pub fn lives(&self) -> bool {
        look(self.pid).is_some_and(|(state, since)| since == self.since && !matches!(state, 'Z' | 'X'))
    }
}

/// State and start of a process.
fn look(pid: u32) -> Option<(char, u64)> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may hold anything, also blanks and brackets.
fn parse(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse(line), Some(('S', 4711)));
    }

    #[test]
    fn this_process_lives_and_its_earlier_namesake_does_not() {
        let current = Task::current();
        assert!(current.lives());
        assert!(!Task { since: current.since + 1, ..current }.lives());
    }
}
