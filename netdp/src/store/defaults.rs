//! What holds for networks that do not say it themselves.

use rusqlite::{Row, params};

use super::{Change, Error, Store};
use crate::model::Defaults;

/// Defaults that are set. Apart, as the timers.
const DEFAULTS: &str = "
CREATE TABLE IF NOT EXISTS defaults (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// The defaults that are set.
    pub fn defaults(&self) -> Result<Defaults, Error> {
        let there = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'defaults'";
        let mut defaults = Defaults::default();
        if self.rows(there, [], |row| row.get::<_, String>(0))?.is_empty() {
            return Ok(defaults);
        }
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(String, String)> = self.rows("SELECT name, value FROM defaults", [], read)?;
        for (name, value) in &rows {
            defaults.set(name, value);
        }
        Ok(defaults)
    }
}

impl Change<'_> {
    /// Sets a default.
    pub fn set_default(&self, name: &str, value: &str) -> Result<(), Error> {
        self.execute(DEFAULTS, [])?;
        self.execute("INSERT OR REPLACE INTO defaults (name, value) VALUES (?1, ?2)", params![name, value])
    }

    /// Has one as it was at first.
    pub fn reset_default(&self, name: &str) -> Result<(), Error> {
        self.execute(DEFAULTS, [])?;
        self.execute("DELETE FROM defaults WHERE name = ?1", [name])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dependence;

    #[test]
    fn defaults_are_kept_also_in_a_database_that_knows_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.defaults().unwrap(), Defaults::default());
        let change = store.begin().unwrap();
        change.set_default("udp-mapping", "address-and-port-dependent").unwrap();
        change.set_default("udp-filtering", "endpoint-independent").unwrap();
        change.reset_default("udp-filtering").unwrap();
        change.commit().unwrap();
        let set = Defaults { udp_mapping: Some(Dependence::AddressAndPortDependent), udp_filtering: None };
        assert_eq!(store.defaults().unwrap(), set);
    }
}
