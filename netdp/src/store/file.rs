//! The file of the database: made whole or not at all, recognised, removed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;

use super::{Error, SCHEMA, TABLES, log};

/// Length of the header of a database file in bytes.
const HEADER: u64 = 100;
/// What it begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where in it the page size stands, in network byte order; 1 means 65536 (`SQLite`'s file format, 1.3.2).
const PAGE_SIZE: std::ops::Range<usize> = 16..18;

pub(super) fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|source| Error::Directory { path: path.to_owned(), source })
}

/// Whether a file may be a database and ends with a page. `SQLite` takes an empty one for a new database, but
/// ours are never empty, and does not mind if a part of the last page is missing.
pub(super) fn has_whole_pages(path: &Path) -> Result<bool, Error> {
    let failed = |source| Error::Directory { path: path.to_owned(), source };
    let mut header = Vec::new();
    let mut file = File::open(path).map_err(failed)?;
    file.by_ref().take(HEADER).read_to_end(&mut header).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let page = match header.get(PAGE_SIZE) {
        Some([0, 1]) => 65_536,
        Some([high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
        _ => return Ok(false),
    };
    // What a checkpoint was writing when it was killed is still in the log; what has another beginning than a
    // database is found out by `SQLite`.
    let other = !header.starts_with(MAGIC) || page == 0;
    Ok(other || length.is_multiple_of(page) || log::is_there(path))
}

/// Makes a whole database under another name first: a crash leaves none rather than an empty one.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let unfinished = path.with_extension("db.new");
    remove(&unfinished);
    // Who moved the database away may have left its log, which would be taken for that of the new one.
    remove(path);
    let made = fill_file(&unfinished).map_err(|source| Error::of(path, source)).and_then(|()| {
        fs::rename(&unfinished, path).map_err(|source| Error::Directory { path: path.to_owned(), source })
    });
    if made.is_err() {
        remove(&unfinished);
    }
    made
}

fn fill_file(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    fill(&connection)?;
    // Closing moves the log into the file; the error would be lost if it were left to `drop`.
    connection.close().map_err(|(_, source)| source)
}

/// Makes the tables, all or none.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

/// Removes a database and what `SQLite` keeps beside it. What is not there need not be removed, and what
/// cannot be removed is met again by whoever opens it next.
pub(super) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = OsString::from(path);
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
}
