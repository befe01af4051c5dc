//! Timers that are set.

use netdp_common::State;
use rusqlite::{Row, params};

use super::{Change, Error, Store};

/// Timers that are set. Apart, because a database that an earlier version made has no such table.
const TIMERS: &str = "
CREATE TABLE IF NOT EXISTS timers (
    name TEXT PRIMARY KEY,
    seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The timers that are set, in seconds. A name that this version does not know has no effect.
    pub fn timers(&self) -> Result<Vec<(State, u32)>, Error> {
        let there = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'timers'";
        if self.rows(there, [], |row| row.get::<_, String>(0))?.is_empty() {
            return Ok(Vec::new());
        }
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(String, u32)> = self.rows("SELECT name, seconds FROM timers", [], read)?;
        let known = |name: &str| State::ALL.iter().copied().find(|state| state.name() == name);
        Ok(rows.iter().filter_map(|(name, seconds)| Some((known(name)?, *seconds))).collect())
    }
}

impl Change<'_> {
    /// Sets a timer.
    pub fn set_timer(&self, state: State, seconds: u32) -> Result<(), Error> {
        self.execute(TIMERS, [])?;
        self.execute(
            "INSERT OR REPLACE INTO timers (name, seconds) VALUES (?1, ?2)",
            params![state.name(), seconds],
        )
    }

    /// Gives a timer its default back.
    pub fn reset_timer(&self, state: State) -> Result<(), Error> {
        self.execute(TIMERS, [])?;
        self.execute("DELETE FROM timers WHERE name = ?1", [state.name()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_kept_also_in_a_database_that_knows_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.timers().unwrap().is_empty());
        let change = store.begin().unwrap();
        change.set_timer(State::Icmp, 90).unwrap();
        change.set_timer(State::UdpReplied, 200).unwrap();
        change.set_timer(State::Icmp, 91).unwrap();
        change.reset_timer(State::UdpReplied).unwrap();
        change.commit().unwrap();
        assert_eq!(store.timers().unwrap(), [(State::Icmp, 91)]);
    }
}
