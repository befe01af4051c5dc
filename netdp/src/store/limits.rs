//! Limits that are set.

use netdp_common::Limit;
use rusqlite::{Row, params};

use super::{Change, Error, Store};

/// Limits that are set. Apart, because a database that an earlier version made has no such table.
const LIMITS: &str = "
CREATE TABLE IF NOT EXISTS limits (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The limits that are set. A name that this version does not know has no effect.
    pub fn limits(&self) -> Result<Vec<(Limit, u32)>, Error> {
        let there = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'limits'";
        if self.rows(there, [], |row| row.get::<_, String>(0))?.is_empty() {
            return Ok(Vec::new());
        }
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(String, u32)> = self.rows("SELECT name, value FROM limits", [], read)?;
        let known = |name: &str| Limit::ALL.iter().copied().find(|limit| limit.name() == name);
        Ok(rows.iter().filter_map(|(name, value)| Some((known(name)?, *value))).collect())
    }

    /// What holds of one limit.
    pub fn limit(&self, limit: Limit) -> Result<u32, Error> {
        let set = self.limits()?.into_iter().find(|(found, _)| *found == limit);
        Ok(set.map_or(limit.default_value(), |(_, value)| value))
    }
}

impl Change<'_> {
    /// Sets a limit.
    pub fn set_limit(&self, limit: Limit, value: u32) -> Result<(), Error> {
        self.execute(LIMITS, [])?;
        self.execute(
            "INSERT OR REPLACE INTO limits (name, value) VALUES (?1, ?2)",
            params![limit.name(), value],
        )
    }

    /// Gives a limit its default back.
    pub fn reset_limit(&self, limit: Limit) -> Result<(), Error> {
        self.execute(LIMITS, [])?;
        self.execute("DELETE FROM limits WHERE name = ?1", [limit.name()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept_also_in_a_database_that_knows_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.limits().unwrap().is_empty());
        let change = store.begin().unwrap();
        change.set_limit(Limit::Flows, 90).unwrap();
        change.set_limit(Limit::Ports, 200).unwrap();
        change.set_limit(Limit::Flows, 91).unwrap();
        change.reset_limit(Limit::Ports).unwrap();
        change.commit().unwrap();
        assert_eq!(store.limits().unwrap(), [(Limit::Flows, 91)]);
        assert_eq!(store.limit(Limit::Flows).unwrap(), 91);
        assert_eq!(store.limit(Limit::Ports).unwrap(), Limit::Ports.default_value());
    }
}
