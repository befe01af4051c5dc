//! What netdp has been told, kept in one `SQLite` database in the state directory.
//!
//! A change is one transaction, so that a reader or a crash sees the old state or the new one. Reading
//! commands open the file read-only and never create it. A database that this version does not understand is
//! left alone.

mod defaults;
mod deny;
mod holders;
mod limits;
mod log;
mod timers;
mod upgrade;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv6Net;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rusqlite::types::{FromSql, FromSqlError, Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::model::{Attachment, Endpoint, Netns, Network, PublishedPort};
use crate::names::Id;

pub use deny::Denied;
pub use holders::Holder;

/// The layout that this version reads and writes, kept in `PRAGMA user_version`.
pub const SCHEMA: i64 = 2;
/// Name of the database in the state directory.
const FILE: &str = "netdp.db";
/// Length of the header of a database file in bytes.
const HEADER: u64 = 100;
/// What it begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where in it the page size stands, in network byte order; 1 means 65536 (`SQLite`'s file format, 1.3.2).
const PAGE_SIZE: std::ops::Range<usize> = 16..18;
/// How long a command waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// `number` is AUTOINCREMENT so that a network's number is never used twice: flows of a removed network may
/// still be in the datapath when the next one is created.
const TABLES: &str = "
CREATE TABLE networks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    driver TEXT NOT NULL,
    options TEXT NOT NULL,
    labels TEXT NOT NULL
) STRICT;
CREATE TABLE endpoints (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    netns_path BLOB NOT NULL,
    netns_device INTEGER NOT NULL,
    netns_inode INTEGER NOT NULL
) STRICT;
CREATE INDEX endpoints_by_netns ON endpoints (netns_inode, netns_device);
CREATE TABLE attachments (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    endpoint INTEGER NOT NULL REFERENCES endpoints (number) ON DELETE CASCADE,
    network INTEGER NOT NULL REFERENCES networks (number),
    addr4 TEXT,
    addr6 TEXT,
    mac TEXT NOT NULL,
    ifname TEXT NOT NULL,
    UNIQUE (network, addr4),
    UNIQUE (network, addr6),
    UNIQUE (endpoint, network),
    UNIQUE (endpoint, ifname)
) STRICT;
CREATE TABLE ports (
    protocol TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    host_address TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    sources TEXT NOT NULL,
    attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
    PRIMARY KEY (protocol, host_port, host_address)
) STRICT, WITHOUT ROWID;
CREATE INDEX ports_by_attachment ON ports (attachment);
CREATE TABLE ula (prefix TEXT NOT NULL) STRICT;
";
/// What can be wrong with the database. The file is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be made or read.
    #[error("cannot use the state directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{0} is not a netdp database")]
    NotADatabase(PathBuf),
    /// Parts of the file are missing or contradict each other.
    #[error("the database {0} is damaged or truncated")]
    Damaged(PathBuf),
    /// A later version of netdp wrote it.
    #[error("the database {path} has schema {found}, and this netdp knows {SCHEMA}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// An earlier version of netdp wrote it, and it has not been taken over yet.
    #[error("the database {0} was written by an earlier version of netdp")]
    Older(PathBuf),
    /// No room for the change.
    #[error("no space left for the database {path}")]
    Full {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// Everything else that `SQLite` reports.
    #[error("cannot use the database {path}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// A value that cannot be written down.
    #[error("cannot write a record for the database")]
    Encode(#[from] serde_json::Error),
}

impl Error {
    /// What the operator can do.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::NotADatabase(path) | Self::Damaged(path) => {
                let (from, to) = (path.display(), path.with_extension("db.bad"));
                Some(format!("put a copy back, or move it away and begin anew: mv {from} {}", to.display()))
            }
            Self::Newer { .. } => {
                Some("use the newer netdp that wrote it, or another --state-dir".to_owned())
            }
            Self::Older(_) => Some("netdp up takes it over".to_owned()),
            Self::Full { path, .. } => Some(format!("make room on the file system of {}", path.display())),
            Self::Directory { .. } | Self::Sqlite { .. } => {
                Some("see that the directory is there and writable, or choose another --state-dir".to_owned())
            }
            Self::Encode(_) => None,
        }
    }

    /// The caller lacks a privilege.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Directory { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Sqlite { path, .. } => {
                access(path, AccessFlags::R_OK | AccessFlags::W_OK) == Err(Errno::EACCES)
            }
            _ => false,
        }
    }

    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, source },
            // SQLite has no code of its own for a write-ahead log whose index found no room.
            Some(ErrorCode::SystemIoFailure) if is_full(&path) => Self::Full { path, source },
            Some(ErrorCode::NotADatabase) => Self::NotADatabase(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(path),
            _ => Self::Sqlite { path, source },
        }
    }
}

fn is_full(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(path);
    nix::sys::statvfs::statvfs(directory).is_ok_and(|system| system.blocks_available() == 0)
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    created: bool,
}

impl Store {
    /// Opens the database of a state directory for changes, and creates both when they are not there.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory)
            .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(FILE);
        let created = !exists(&path)?;
        if created {
            create(&path)?;
        }
        let mut store = Self::connect(path.clone(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if let Err(Error::Older(_)) = store.check_schema() {
            upgrade::from_1(&path).map_err(|source| Error::of(&path, source))?;
        }
        store.created = created;
        store.check_schema()?;
        Ok(store)
    }

    /// Opens the database of a state directory for reading; none when there is none. One of an older version is taken
    /// over first, which is a change.
    pub fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(FILE);
        if !exists(&path)? {
            return Ok(None);
        }
        let normally = Self::connect(path.clone(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|store| store.check_schema().map(|()| store));
        match normally {
            Err(Error::Older(_)) => Self::open(directory).map(Some),
            Err(Error::Full { .. } | Error::Sqlite { .. }) if !log::is_there(&path) => {
                Self::read_at_rest(path).map(Some)
            }
            result => result.map(Some),
        }
    }

    /// Reads a database without its log and without the index that `SQLite` makes for readers: that takes
    /// room and the right to write beside it. Nothing is missed as long as there is no log.
    fn read_at_rest(path: PathBuf) -> Result<Self, Error> {
        let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags);
        let connection = connection.map_err(|source| Error::of(&path, source))?;
        let store = Self { connection, path, created: false };
        store.check_schema()?;
        Ok(store)
    }

    fn connect(path: PathBuf, access: OpenFlags) -> Result<Self, Error> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            log::keep_while_short(&connection, &path)?;
            Ok(connection)
        };
        let connection = open().map_err(|source| Error::of(&path, source))?;
        Ok(Self { connection, path, created: false })
    }

    fn check_schema(&self) -> Result<(), Error> {
        if !has_whole_pages(&self.path)? {
            return Err(Error::Damaged(self.path.clone()));
        }
        let version = self.connection.pragma_query_value(None, "user_version", |row| row.get(0));
        match version.map_err(|source| self.error(source))? {
            SCHEMA => self.read_schema(),
            1 => self.read_schema().and(Err(Error::Older(self.path.clone()))),
            found if found > SCHEMA => Err(Error::Newer { path: self.path.clone(), found }),
            _ => Err(Error::NotADatabase(self.path.clone())),
        }
    }

    /// Reading a table makes `SQLite` compare the file's length with what its header says.
    fn read_schema(&self) -> Result<(), Error> {
        let count =
            self.connection.query_row("SELECT count(*) FROM networks", [], |row| row.get::<_, i64>(0));
        count.map(drop).map_err(|source| self.error(source))
    }

    /// Reads every page of the database and compares the tables with their indexes.
    pub fn check(&self) -> Result<(), Error> {
        let answer = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match answer.map_err(|source| self.error(source))?.as_str() {
            "ok" => Ok(()),
            _ => Err(Error::Damaged(self.path.clone())),
        }
    }

    /// Takes back a database that [`Self::open`] has just created; one that was there stays.
    pub fn discard_if_new(self) {
        let Self { connection, path, created } = self;
        drop(connection);
        if created {
            remove(&path);
        }
    }

    fn error(&self, source: rusqlite::Error) -> Error {
        Error::of(&self.path, source)
    }

    /// All networks, oldest first, with the host's defaults where they say nothing themselves.
    pub fn networks(&self) -> Result<Vec<Network>, Error> {
        let sql = "SELECT number, id, name, created, driver, options, labels FROM networks ORDER BY number";
        let (mut networks, defaults) = (self.rows(sql, [], network)?, self.defaults()?);
        for network in &mut networks {
            defaults.complete(network);
        }
        Ok(networks)
    }

    /// All endpoints, oldest first.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let rows = self.rows(&format!("{ENDPOINTS} ORDER BY number"), [], endpoint)?;
        rows.into_iter().map(|row| self.with_attachments(row)).collect()
    }

    /// The endpoint of that name.
    pub fn endpoint(&self, name: &str) -> Result<Option<Endpoint>, Error> {
        self.one(&format!("{ENDPOINTS} WHERE name = ?1"), [name])
    }

    /// The endpoint that lives in a network namespace.
    pub fn endpoint_in(&self, device: u64, inode: u64) -> Result<Option<Endpoint>, Error> {
        let key = [device.cast_signed(), inode.cast_signed()];
        self.one(&format!("{ENDPOINTS} WHERE netns_device = ?1 AND netns_inode = ?2"), key)
    }

    fn one(&self, sql: &str, key: impl rusqlite::Params) -> Result<Option<Endpoint>, Error> {
        match self.connection.query_row(sql, key, endpoint) {
            Ok(row) => self.with_attachments(row).map(Some),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(source) => Err(self.error(source)),
        }
    }

    fn with_attachments(&self, (number, mut endpoint): (i64, Endpoint)) -> Result<Endpoint, Error> {
        let sql = "SELECT number, id, network, addr4, addr6, mac, ifname FROM attachments \
                   WHERE endpoint = ?1 ORDER BY number";
        for (number, mut attachment) in self.rows(sql, [number], attachment)? {
            let sql = "SELECT protocol, host_port, host_address, container_port, sources FROM ports \
                       WHERE attachment = ?1 ORDER BY container_port, protocol, host_address, host_port";
            attachment.ports = self.rows(sql, [number], port)?;
            endpoint.attachments.push(attachment);
        }
        Ok(endpoint)
    }

    /// The addresses of a network that endpoints have.
    pub fn used_addresses(&self, network: u32) -> Result<BTreeSet<IpAddr>, Error> {
        let sql = "SELECT addr4 FROM attachments WHERE network = ?1 AND addr4 IS NOT NULL \
                   UNION SELECT addr6 FROM attachments WHERE network = ?1 AND addr6 IS NOT NULL";
        let rows = self.rows(sql, [network], |row| parsed(row, 0))?;
        Ok(rows.into_iter().collect())
    }

    /// The IPv6 prefix that the host takes for its networks, once it was chosen.
    pub fn ula(&self) -> Result<Option<Ipv6Net>, Error> {
        Ok(self.rows("SELECT prefix FROM ula", [], |row| parsed(row, 0))?.into_iter().next())
    }

    /// How many interfaces a network has.
    pub fn attachments_of(&self, network: u32) -> Result<u32, Error> {
        let sql = "SELECT count(*) FROM attachments WHERE network = ?1";
        Ok(self.rows(sql, [network], |row| row.get::<_, u32>(0))?.into_iter().sum())
    }

    fn rows<T>(
        &self,
        sql: &str,
        keys: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let query = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(keys, read)?.collect()
        };
        query().map_err(|source| self.error(source))
    }

    /// Begins a change. Dropping it without [`Change::commit`] takes everything back.
    pub fn begin(&self) -> Result<Change<'_>, Error> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        Ok(Change { transaction: transaction.map_err(|source| self.error(source))?, path: &self.path })
    }
}

/// A transaction: all of it becomes true, or nothing.
#[derive(Debug)]
pub struct Change<'a> {
    transaction: Transaction<'a>,
    path: &'a Path,
}

impl Change<'_> {
    /// Adds a network and says which number it got; its own `number` is not looked at.
    pub fn add_network(&self, network: &Network) -> Result<u32, Error> {
        self.execute(
            "INSERT INTO networks (id, name, created, driver, options, labels) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                network.id.as_str(),
                network.name.as_str(),
                network.created.cast_signed(),
                json(&network.driver)?,
                json(&network.options)?,
                json(&network.labels)?,
            ],
        )?;
        let number = self.transaction.last_insert_rowid();
        u32::try_from(number).map_err(|_| self.error(rusqlite::Error::IntegralValueOutOfRange(0, number)))
    }

    /// Keeps the IPv6 prefix that the host takes for its networks from now on.
    pub fn set_ula(&self, prefix: Ipv6Net) -> Result<(), Error> {
        self.execute("INSERT INTO ula (prefix) VALUES (?1)", [prefix.to_string()])
    }

    /// Removes a network that nobody is attached to.
    pub fn remove_network(&self, number: u32) -> Result<(), Error> {
        self.execute("DELETE FROM networks WHERE number = ?1", [number])
    }

    /// Adds an endpoint with all its attachments.
    pub fn add_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let netns = &endpoint.netns;
        self.execute(
            "INSERT INTO endpoints (id, name, created, netns_path, netns_device, netns_inode) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                endpoint.id.as_str(),
                endpoint.name.as_str(),
                endpoint.created.cast_signed(),
                netns.path.as_os_str().as_bytes(),
                netns.device.cast_signed(),
                netns.inode.cast_signed(),
            ],
        )?;
        endpoint.attachments.iter().try_for_each(|attachment| self.add_attachment(&endpoint.id, attachment))
    }

    /// Adds one interface of an endpoint with its ports.
    pub fn add_attachment(&self, endpoint: &Id, attachment: &Attachment) -> Result<(), Error> {
        self.execute(
            "INSERT INTO attachments (id, endpoint, network, addr4, addr6, mac, ifname) \
             VALUES (?1, (SELECT number FROM endpoints WHERE id = ?2), ?3, ?4, ?5, ?6, ?7)",
            params![
                attachment.id.as_str(),
                endpoint.as_str(),
                attachment.network,
                attachment.addr4.map(|address| address.to_string()),
                attachment.addr6.map(|address| address.to_string()),
                attachment.mac.to_string(),
                attachment.ifname,
            ],
        )?;
        let number = self.transaction.last_insert_rowid();
        attachment.ports.iter().try_for_each(|port| self.add_port(number, port))
    }

    fn add_port(&self, attachment: i64, port: &PublishedPort) -> Result<(), Error> {
        self.execute(
            "INSERT INTO ports (protocol, host_port, host_address, container_port, sources, attachment) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                port.protocol.to_string(),
                port.host_port,
                port.host_address.to_string(),
                port.container_port,
                port.sources.to_string(),
                attachment
            ],
        )
    }

    /// Removes one interface of an endpoint with its ports.
    pub fn remove_attachment(&self, id: &Id) -> Result<(), Error> {
        self.execute("DELETE FROM attachments WHERE id = ?1", [id.as_str()])
    }

    /// Removes an endpoint with all that belongs to it.
    pub fn remove_endpoint(&self, id: &Id) -> Result<(), Error> {
        self.execute("DELETE FROM endpoints WHERE id = ?1", [id.as_str()])
    }

    /// Makes the change true, on the disk too.
    pub fn commit(self) -> Result<(), Error> {
        let path = self.path;
        self.transaction.commit().map_err(|source| Error::of(path, source))
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), Error> {
        let done = self.transaction.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map(drop).map_err(|source| self.error(source))
    }

    fn error(&self, source: rusqlite::Error) -> Error {
        Error::of(self.path, source)
    }
}

/// Drops the database with all it knows.
pub fn purge(directory: &Path) {
    remove(&directory.join(FILE));
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|source| Error::Directory { path: path.to_owned(), source })
}

/// Whether a file may be a database and ends with a page. `SQLite` takes an empty one for a new database, but
/// ours are never empty, and does not mind if a part of the last page is missing.
fn has_whole_pages(path: &Path) -> Result<bool, Error> {
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
fn create(path: &Path) -> Result<(), Error> {
    let unfinished = path.with_extension("db.new");
    remove(&unfinished);
    // Who moved the database away may have left its log, which would be taken for that of the new one.
    remove(path);
    let made = fill(&unfinished).map_err(|source| Error::of(path, source)).and_then(|()| {
        fs::rename(&unfinished, path).map_err(|source| Error::Directory { path: path.to_owned(), source })
    });
    if made.is_err() {
        remove(&unfinished);
    }
    made
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()?;
    // Closing moves the log into the file; the error would be lost if it were left to `drop`.
    connection.close().map_err(|(_, source)| source)
}

/// Removes a database and what `SQLite` keeps beside it. What is not there need not be removed, and what
/// cannot be removed is met again by whoever opens it next.
fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = OsString::from(path);
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
}

const ENDPOINTS: &str =
    "SELECT number, id, name, created, netns_path, netns_device, netns_inode FROM endpoints";

/// A value kept as JSON.
struct Json<T>(T);

impl<T: for<'de> Deserialize<'de>> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(value)?)
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| {
        let wrong = format!("{text:?} in column {column}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, wrong.into())
    })
}

fn parsed_if_any<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network {
        number: row.get(0)?,
        id: Id::stored(row.get(1)?),
        name: parsed(row, 2)?,
        created: row.get::<_, i64>(3)?.cast_unsigned(),
        driver: row.get::<_, Json<_>>(4)?.0,
        options: row.get::<_, Json<_>>(5)?.0,
        labels: row.get::<_, Json<_>>(6)?.0,
    })
}

fn endpoint(row: &Row<'_>) -> rusqlite::Result<(i64, Endpoint)> {
    let path: Vec<u8> = row.get(4)?;
    let netns = Netns {
        path: OsString::from_vec(path).into(),
        device: row.get::<_, i64>(5)?.cast_unsigned(),
        inode: row.get::<_, i64>(6)?.cast_unsigned(),
    };
    let endpoint = Endpoint {
        id: Id::stored(row.get(1)?),
        name: parsed(row, 2)?,
        created: row.get::<_, i64>(3)?.cast_unsigned(),
        netns,
        attachments: Vec::new(),
    };
    Ok((row.get(0)?, endpoint))
}

fn attachment(row: &Row<'_>) -> rusqlite::Result<(i64, Attachment)> {
    let attachment = Attachment {
        id: Id::stored(row.get(1)?),
        network: row.get(2)?,
        addr4: parsed_if_any(row, 3)?,
        addr6: parsed_if_any(row, 4)?,
        mac: parsed(row, 5)?,
        ifname: row.get(6)?,
        ports: Vec::new(),
    };
    Ok((row.get(0)?, attachment))
}

fn port(row: &Row<'_>) -> rusqlite::Result<PublishedPort> {
    Ok(PublishedPort {
        protocol: parsed(row, 0)?,
        host_port: row.get(1)?,
        host_address: parsed(row, 2)?,
        container_port: row.get(3)?,
        sources: parsed(row, 4)?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::model::{Driver, Mac, Protocol};

    fn a_network(name: &str) -> Network {
        Network {
            number: 0,
            id: Id::random().unwrap(),
            name: name.parse().unwrap(),
            created: 1,
            driver: Driver::Null,
            options: [("a".to_owned(), "b".to_owned())].into(),
            labels: [].into(),
        }
    }

    fn an_endpoint(name: &str, network: u32, host_port: u16) -> Endpoint {
        let port = PublishedPort {
            protocol: Protocol::Tcp,
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            host_port,
            container_port: 80,
            sources: "10.0.0.0/8,fd00::/8".parse().unwrap(),
        };
        let address = Ipv4Addr::from_bits(0x0a00_0000 | u32::from(host_port));
        let attachment = Attachment {
            id: Id::random().unwrap(),
            network,
            addr4: Some(address),
            addr6: Some(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(host_port))),
            mac: Mac::of_address(address),
            ifname: "eth0".to_owned(),
            ports: vec![port],
        };
        Endpoint {
            id: Id::random().unwrap(),
            name: name.parse().unwrap(),
            created: 2,
            netns: Netns { path: "/run/netns/x".into(), device: 4, inode: u64::from(host_port) },
            attachments: vec![attachment],
        }
    }

    #[test]
    fn what_was_committed_is_read_back_and_the_rest_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let change = store.begin().unwrap();
        let number = change.add_network(&a_network("one")).unwrap();
        let web = an_endpoint("web", number, 8080);
        change.add_endpoint(&web).unwrap();
        change.commit().unwrap();
        let dropped = store.begin().unwrap();
        dropped.remove_endpoint(&web.id).unwrap();
        drop(dropped);
        let reader = Store::read(directory.path()).unwrap().unwrap();
        assert_eq!(reader.endpoint("web").unwrap().unwrap(), web);
        assert_eq!(reader.endpoint_in(4, 8080).unwrap().unwrap(), web);
        assert_eq!(reader.endpoints().unwrap(), std::slice::from_ref(&web));
        assert_eq!(
            reader.holders(Protocol::Tcp, 8080).unwrap(),
            [(web.attachments[0].ports[0].clone(), "web".to_owned())]
        );
        assert_eq!(reader.used_addresses(number).unwrap(), web.attachments[0].addresses().collect());
        reader.check().unwrap();
    }

    #[test]
    fn numbers_of_networks_are_never_used_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let change = store.begin().unwrap();
        let first = change.add_network(&a_network("one")).unwrap();
        change.remove_network(first).unwrap();
        assert_eq!(change.add_network(&a_network("two")).unwrap(), first + 1);
        change.commit().unwrap();
    }

    #[test]
    fn removing_an_endpoint_removes_its_ports_and_a_used_network_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let change = store.begin().unwrap();
        let number = change.add_network(&a_network("one")).unwrap();
        let web = an_endpoint("web", number, 8080);
        change.add_endpoint(&web).unwrap();
        assert!(change.remove_network(number).is_err());
        assert!(change.add_endpoint(&an_endpoint("other", number, 8080)).is_err());
        change.remove_endpoint(&web.id).unwrap();
        change.remove_network(number).unwrap();
        change.commit().unwrap();
        assert!(store.holders(Protocol::Tcp, 8080).unwrap().is_empty());
    }

    #[test]
    fn reading_creates_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Store::read(directory.path()).unwrap().is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_new_database_can_be_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap().discard_if_new();
        assert!(Store::read(directory.path()).unwrap().is_none());
        drop(Store::open(directory.path()).unwrap());
        Store::open(directory.path()).unwrap().discard_if_new();
        assert!(Store::read(directory.path()).unwrap().is_some());
    }

    /// What `open` and `read` say about a file, which must be the same afterwards.
    fn refused(directory: &Path, content: &[u8]) -> Error {
        let path = directory.join(FILE);
        fs::write(&path, content).unwrap();
        assert!(Store::read(directory).is_err());
        let error = Store::open(directory).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), content);
        error
    }

    #[test]
    fn a_file_that_is_no_database_of_ours_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(Store::open(directory.path()).unwrap());
        let whole = fs::read(directory.path().join(FILE)).unwrap();
        assert!(matches!(refused(directory.path(), b""), Error::Damaged(_)));
        assert!(matches!(refused(directory.path(), &[b'x'; 5000]), Error::NotADatabase(_)));
        assert!(matches!(refused(directory.path(), &whole[..whole.len() / 2]), Error::Damaged(_)));
        assert!(refused(directory.path(), &whole[..50]).advice().is_some());
        assert!(matches!(refused(directory.path(), &whole[..whole.len() - 1]), Error::Damaged(_)));
        let mut newer = whole.clone();
        newer[63] = 9;
        assert!(matches!(refused(directory.path(), &newer), Error::Newer { found: 9, .. }));
        let mut foreign = whole;
        foreign[63] = 0;
        assert!(matches!(refused(directory.path(), &foreign), Error::NotADatabase(_)));
    }

    /// As the version with schema 1 has left it.
    const OLD: &str = "
        CREATE TABLE networks (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL, driver TEXT NOT NULL, options TEXT NOT NULL, labels TEXT NOT NULL) STRICT;
        CREATE TABLE endpoints (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL, netns_path BLOB NOT NULL, netns_device INTEGER NOT NULL, netns_inode INTEGER NOT NULL) STRICT;
        CREATE INDEX endpoints_by_netns ON endpoints (netns_inode, netns_device);
        CREATE TABLE attachments (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            endpoint INTEGER NOT NULL REFERENCES endpoints (number) ON DELETE CASCADE,
            network INTEGER NOT NULL REFERENCES networks (number), address INTEGER NOT NULL, mac TEXT NOT NULL,
            ifname TEXT NOT NULL, UNIQUE (network, address), UNIQUE (endpoint, network), UNIQUE (endpoint, ifname)) STRICT;
        CREATE TABLE ports (protocol TEXT NOT NULL, host_port INTEGER NOT NULL, host_address INTEGER NOT NULL,
            container_port INTEGER NOT NULL, attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
            PRIMARY KEY (protocol, host_port, host_address)) STRICT, WITHOUT ROWID;
        CREATE INDEX ports_by_attachment ON ports (attachment);
        INSERT INTO networks VALUES (3, 'aa', 'blue', 1, '{\"Bridge\":{\"device\":\"br-aa\",\"mac\":\"02:00:00:00:00:01\",
            \"mtu\":1500,\"pool\":{\"subnet\":\"200.5.0.0/16\",\"gateway\":\"200.5.0.1\",\"range\":null,\"reserved\":{}},
            \"internal\":false,\"icc\":true,\"masquerade\":true,\"host_binding\":\"0.0.0.0\"}}', '{}', '{}');
        INSERT INTO endpoints VALUES (1, 'ee', 'web', 2, x'2f78', 4, 5);
        INSERT INTO attachments VALUES (7, 'ff', 1, 3, 3355770882, '02:42:c8:05:00:02', 'eth0');
        INSERT INTO ports VALUES ('tcp', 8080, 0, 80, 7), ('udp', 53, 2130706433, 53, 7);
        PRAGMA user_version = 1;";

    #[test]
    fn the_database_of_the_version_before_is_taken_over_whole() {
        let directory = tempfile::tempdir().unwrap();
        Connection::open(directory.path().join(FILE)).unwrap().execute_batch(OLD).unwrap();
        let store = Store::read(directory.path()).unwrap().unwrap();
        store.check().unwrap();
        let bridge = store.networks().unwrap().remove(0).bridge().cloned().unwrap();
        let pool = bridge.pool4.unwrap();
        assert_eq!(
            (pool.subnet.to_string(), pool.gateway.to_string()),
            ("200.5.0.0/16".into(), "200.5.0.1".into())
        );
        assert_eq!(bridge.pool6, None);
        let web = store.endpoint("web").unwrap().unwrap();
        let attachment = &web.attachments[0];
        assert_eq!((attachment.addr4, attachment.addr6), (Some(Ipv4Addr::new(200, 5, 0, 2)), None));
        let ports: Vec<String> = attachment.ports.iter().map(|port| port.host_side().to_string()).collect();
        assert_eq!(ports, ["127.0.0.1:53", "0.0.0.0:8080"]);
        assert!(attachment.ports.iter().all(|port| port.sources.is_everybody()));
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        let change = store.begin().unwrap();
        assert!(change.remove_network(3).is_err(), "the endpoint refers to it");
        change.remove_endpoint(&web.id).unwrap();
        change.remove_network(3).unwrap();
        assert_eq!(change.add_network(&a_network("next")).unwrap(), 4);
        change.commit().unwrap();
        assert!(store.holders(Protocol::Tcp, 8080).unwrap().is_empty());
    }
}
