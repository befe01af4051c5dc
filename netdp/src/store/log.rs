//! `SQLite`'s write-ahead log beside the database. What was committed is in it, on the disk; sooner or later it is moved into
//! the file.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Length in bytes from which on the log is moved into the file.
const LONG: u64 = 256 * 1024;

/// A commit is one flush of the log. Moving the log into the file when the database is closed would be three more with each
/// command, so that is for the one that finds a long log: whoever opens the database reads the whole of it.
pub(super) fn keep_while_short(connection: &Connection, database: &Path) -> rusqlite::Result<()> {
    let keep = length(database) < LONG;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Whether there is one with something in it.
pub(super) fn is_there(database: &Path) -> bool {
    length(database) > 0
}

fn length(database: &Path) -> u64 {
    let mut log = OsString::from(database);
    log.push("-wal");
    fs::metadata(log).map_or(0, |log| log.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Driver, Network};
    use crate::names::Id;
    use crate::store::{FILE, Store};

    fn add(store: &Store, name: &str) {
        let network = Network {
            number: 0,
            id: Id::random().unwrap(),
            name: name.parse().unwrap(),
            created: 1,
            driver: Driver::Null,
            options: [].into(),
            labels: [].into(),
        };
        let change = store.begin().unwrap();
        change.add_network(&network).unwrap();
        change.commit().unwrap();
    }

    #[test]
    fn the_log_of_a_database_that_was_moved_away_is_not_taken_for_that_of_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        add(&store, "old");
        drop(store);
        let path = directory.path().join(FILE);
        assert!(is_there(&path), "a commit stays in the log");
        assert_eq!(Store::read(directory.path()).unwrap().unwrap().networks().unwrap().len(), 1);
        fs::rename(&path, path.with_extension("db.bad")).unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.networks().unwrap().is_empty());
        store.check().unwrap();
    }

    #[test]
    fn the_log_is_moved_into_the_file_when_it_is_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut longest = 0;
        for count in 1..100 {
            let store = Store::open(directory.path()).unwrap();
            add(&store, &format!("n{count}"));
            drop(store);
            longest = longest.max(length(&path));
            assert_eq!(Store::read(directory.path()).unwrap().unwrap().networks().unwrap().len(), count);
        }
        assert!((LONG..2 * LONG).contains(&longest), "{longest} bytes");
    }
}
