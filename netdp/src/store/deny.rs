//! The deny list. Its table is made with the first prefix: a database of an earlier version has none, and that version
//! goes on with the database as it is.

use ipnet::IpNet;
use rusqlite::{Row, params};

use super::rows::parsed;
use super::{Change, Error, Store};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS denied (prefix TEXT PRIMARY KEY, created INTEGER NOT NULL) \
                     STRICT, WITHOUT ROWID";

/// A prefix whose packets are refused at the uplinks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denied {
    /// Host bits are zero.
    pub prefix: IpNet,
    /// Seconds since 1970 when it was added.
    pub created: u64,
}

impl Store {
    /// The whole list, in the order of addresses, IPv4 first.
    pub fn denied(&self) -> Result<Vec<Denied>, Error> {
        let there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'denied'";
        if self.rows(there, [], |_| Ok(()))?.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = self.rows("SELECT prefix, created FROM denied", [], denied)?;
        all.sort_by_key(|denied| denied.prefix);
        Ok(all)
    }
}

impl Change<'_> {
    /// Adds a prefix; one that is there already stays as it is.
    pub fn add_denied(&self, denied: Denied) -> Result<(), Error> {
        self.execute(TABLE, [])?;
        let sql = "INSERT INTO denied (prefix, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.execute(sql, params![denied.prefix.to_string(), denied.created.cast_signed()])
    }

    /// Removes a prefix that is there.
    pub fn remove_denied(&self, prefix: IpNet) -> Result<(), Error> {
        self.execute("DELETE FROM denied WHERE prefix = ?1", [prefix.to_string()])
    }
}

fn denied(row: &Row<'_>) -> rusqlite::Result<Denied> {
    Ok(Denied { prefix: parsed(row, 0)?, created: row.get::<_, i64>(1)?.cast_unsigned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Denied {
        Denied { prefix: text.parse().unwrap(), created: 7 }
    }

    #[test]
    fn list_is_sorted_and_holds_each_prefix_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.denied().unwrap(), []);
        let change = store.begin().unwrap();
        for text in ["2001:db8::/32", "198.51.100.0/24", "10.0.0.0/8", "10.0.0.0/8"] {
            change.add_denied(of(text)).unwrap();
        }
        change.commit().unwrap();
        let reader = Store::read(directory.path()).unwrap().unwrap();
        assert_eq!(reader.denied().unwrap(), [of("10.0.0.0/8"), of("198.51.100.0/24"), of("2001:db8::/32")]);
        let change = store.begin().unwrap();
        change.remove_denied(of("10.0.0.0/8").prefix).unwrap();
        change.commit().unwrap();
        assert_eq!(store.denied().unwrap(), [of("198.51.100.0/24"), of("2001:db8::/32")]);
    }
}
