//! What netdp has been told, kept in one `SQLite` database in the state directory.
//!
//! A change is one transaction, so that a reader or a crash sees the old state or the new one. Reading
//! commands open the file read-only and never create it. A database that this version does not understand is
//! left alone.

mod defaults;
mod deny;
mod file;
mod holders;
mod leases;
mod limits;
mod log;
mod rows;
mod settings;
mod timers;
mod upgrade;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv6Net;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rusqlite::backup::Backup;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use crate::model::{Attachment, Driver, Endpoint, EndpointOptions, Network, PublishedPort};
use crate::names::Id;

use file::{create, exists, has_whole_pages, remove};
use leases::Leases;
use rows::{ENDPOINTS, attachment, endpoint, json, network, parsed, port};

pub use deny::Denied;
pub use holders::Holder;
pub use settings::Setting;

/// The layout that this version reads and writes, kept in `PRAGMA user_version`.
pub const SCHEMA: i64 = 4;
/// Name of the database in the state directory.
const FILE: &str = "netdp.db";
/// How long a command waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// `number` is AUTOINCREMENT so that a network's number is never used twice: flows of a removed network may
/// still be in the datapath when the next one is created. Ports without one of the host (NULL) are different ones to UNIQUE.
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
    netns_inode INTEGER NOT NULL,
    options TEXT NOT NULL DEFAULT '{}'
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
    options TEXT NOT NULL DEFAULT '{}',
    UNIQUE (network, addr4),
    UNIQUE (network, addr6),
    UNIQUE (endpoint, network),
    UNIQUE (endpoint, ifname)
) STRICT;
CREATE TABLE ports (
    protocol TEXT NOT NULL,
    host_port INTEGER,
    host_address TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    sources TEXT NOT NULL,
    attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
    UNIQUE (protocol, host_port, host_address)
) STRICT;
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
                Some(format!(
                    "put a copy back, or move it away and begin anew, with {from}-wal and {from}-shm where they are there: \
                     mv {from} {}",
                    to.display()
                ))
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
            upgrade::to_present(&path).map_err(|source| Error::of(&path, source))?;
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

    /// Opens the database of a state directory to follow its changes; none when there is none.
    pub fn follow(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(FILE);
        if !exists(&path)? {
            return Ok(None);
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.check_schema()?;
        Ok(Some(store))
    }

    /// Device and inode of the database of a state directory, by which another one in its place is known.
    pub fn file(directory: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(directory.join(FILE)).ok().map(|it| (it.dev(), it.ino()))
    }

    /// Another number than before when somebody else has committed a change since.
    pub fn data_version(&self) -> Result<i64, Error> {
        let query = || self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        query().map_err(|source| self.error(source))
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

    /// A copy in memory, or an empty database when there is none: for trying what a change would come to. Nothing is made or
    /// written.
    pub fn copy(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let failed = |source| Error::of(&path, source);
        let mut connection = Connection::open_in_memory().map_err(failed)?;
        if exists(&path)? {
            let original = Self::connect(path.clone(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            match original.check_schema() {
                Ok(()) | Err(Error::Older(_)) => {}
                Err(error) => return Err(error),
            }
            let copied = Backup::new(&original.connection, &mut connection)
                .and_then(|backup| backup.run_to_completion(i32::MAX, PATIENCE, None));
            copied.map_err(failed)?;
            upgrade::whole(&mut connection).map_err(failed)?;
        } else {
            file::fill(&connection).map_err(failed)?;
        }
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        Ok(Self { connection, path, created: false })
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
            1..SCHEMA => self.read_schema().and(Err(Error::Older(self.path.clone()))),
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
        let allows = self.allows_direct_routing()?;
        for network in &mut networks {
            defaults.complete(network);
            if let Driver::Bridge(bridge) = &mut network.driver {
                bridge.allows_direct_routing = allows;
            }
        }
        Ok(networks)
    }

    /// All endpoints, oldest first.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let rows = self.rows(&format!("{ENDPOINTS} ORDER BY number"), [], endpoint)?;
        let leases = self.leases()?;
        rows.into_iter().map(|row| self.with_attachments(row, &leases)).collect()
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
            Ok(row) => self.with_attachments(row, &self.leases()?).map(Some),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(source) => Err(self.error(source)),
        }
    }

    fn with_attachments(
        &self,
        (number, mut endpoint): (i64, Endpoint),
        leases: &Leases,
    ) -> Result<Endpoint, Error> {
        let sql = "SELECT number, id, network, addr4, addr6, mac, ifname, options FROM attachments \
                   WHERE endpoint = ?1 ORDER BY number";
        for (number, mut attachment) in self.rows(sql, [number], attachment)? {
            let sql = "SELECT protocol, host_port, host_address, container_port, sources FROM ports \
                       WHERE attachment = ?1 ORDER BY container_port, protocol, host_address, host_port";
            attachment.ports = self.rows(sql, [number], port)?;
            // One of another address is an offer that is not taken yet.
            let lease = leases.get(attachment.id.as_str());
            attachment.lease = lease.filter(|lease| Some(lease.address.addr()) == attachment.addr4).cloned();
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

    /// Has a network as it is given, but for its name, number and identity.
    pub fn set_network(&self, network: &Network) -> Result<(), Error> {
        self.execute(
            "UPDATE networks SET driver = ?2, options = ?3, labels = ?4 WHERE number = ?1",
            params![network.number, json(&network.driver)?, json(&network.options)?, json(&network.labels)?],
        )
    }

    /// Changes the MTU of a bridge network.
    pub fn set_mtu(&self, number: u32, mtu: u32) -> Result<(), Error> {
        let sql = "UPDATE networks SET driver = json_set(driver, '$.Bridge.mtu', ?2) WHERE number = ?1";
        self.execute(sql, params![number, mtu])
    }

    /// Removes a network that nobody is attached to.
    pub fn remove_network(&self, number: u32) -> Result<(), Error> {
        self.execute("DELETE FROM networks WHERE number = ?1", [number])
    }

    /// Adds an endpoint with all its attachments.
    pub fn add_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let netns = &endpoint.netns;
        self.execute(
            "INSERT INTO endpoints (id, name, created, netns_path, netns_device, netns_inode, options) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                endpoint.id.as_str(),
                endpoint.name.as_str(),
                endpoint.created.cast_signed(),
                netns.path.as_os_str().as_bytes(),
                netns.device.cast_signed(),
                netns.inode.cast_signed(),
                json(&endpoint.options)?,
            ],
        )?;
        endpoint.attachments.iter().try_for_each(|attachment| self.add_attachment(&endpoint.id, attachment))
    }

    /// Adds one interface of an endpoint with its ports.
    pub fn add_attachment(&self, endpoint: &Id, attachment: &Attachment) -> Result<(), Error> {
        self.execute(
            "INSERT INTO attachments (id, endpoint, network, addr4, addr6, mac, ifname, options) \
             VALUES (?1, (SELECT number FROM endpoints WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                attachment.id.as_str(),
                endpoint.as_str(),
                attachment.network,
                attachment.addr4.map(|address| address.to_string()),
                attachment.addr6.map(|address| address.to_string()),
                attachment.mac.to_string(),
                attachment.ifname,
                json(&attachment.options)?,
            ],
        )?;
        let number = self.transaction.last_insert_rowid();
        if let Some(lease) = &attachment.lease {
            self.keep_lease(&attachment.id, lease)?;
        }
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

    /// Changes what an endpoint was asked to have beyond its interfaces.
    pub fn set_endpoint_options(&self, id: &Id, options: &EndpointOptions) -> Result<(), Error> {
        self.execute("UPDATE endpoints SET options = ?2 WHERE id = ?1", params![id.as_str(), json(options)?])
    }

    /// Changes the ports of an interface and what else it was asked to have; the rest of it stays.
    pub fn set_attachment(&self, attachment: &Attachment) -> Result<(), Error> {
        let id = attachment.id.as_str();
        let options = json(&attachment.options)?;
        self.execute("UPDATE attachments SET options = ?2 WHERE id = ?1", params![id, options])?;
        let sql = "DELETE FROM ports WHERE attachment = (SELECT number FROM attachments WHERE id = ?1)";
        self.execute(sql, [id])?;
        let number = "SELECT number FROM attachments WHERE id = ?1";
        let number = self.transaction.query_row(number, [id], |row| row.get(0));
        let number = number.map_err(|source| self.error(source))?;
        attachment.ports.iter().try_for_each(|port| self.add_port(number, port))
    }

    /// Removes one interface of an endpoint with its ports.
    pub fn remove_attachment(&self, id: &Id) -> Result<(), Error> {
        self.leave_lease(id)?;
        self.execute("DELETE FROM attachments WHERE id = ?1", [id.as_str()])
    }

    /// Removes an endpoint with all that belongs to it.
    pub fn remove_endpoint(&self, id: &Id) -> Result<(), Error> {
        self.leave_leases_of(id)?;
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

#[cfg(test)]
mod tests;
