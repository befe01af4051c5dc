//! Processes that netdp started itself (`netdp run`): what is written down about each of them in the run directory, and whether
//! it lives.
//!
//! A record is a directory `processes/ID` with `record.json` and the files that are mounted over the process's `/etc`. It is in
//! the run directory and not in the database: no process outlives the boot. The endpoint of a process that runs is in the
//! database, under the same id; one that has ended has none, and its addresses and ports are free.

pub mod background;
mod error;
pub mod hosts;
pub mod init;
pub mod launch;
pub mod links;
pub mod log;
pub mod namespace;
pub mod resolver;
mod task;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::instance::Place;
use crate::model::EndpointOptions;
use crate::names::{self, Id, Name};

pub use error::Error;
pub use task::Task;

/// Digits of an id that name a process which was given no name, and its host.
pub const SHORT: usize = 12;

/// What is known about one process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// 64 hexadecimal digits; its endpoint has the same.
    pub id: Id,
    /// Unique among processes and endpoints.
    pub name: Name,
    /// Seconds since 1970.
    pub created: u64,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The name that it calls its host.
    pub hostname: String,
    /// Where its network comes from.
    pub mode: Mode,
    /// What it was given on top of netdp's own environment.
    pub environment: Vec<(String, String)>,
    /// The directory that it began in.
    pub workdir: PathBuf,
    /// The user that it runs as; none is netdp's own.
    pub user: Option<String>,
    /// What else it was asked to have.
    pub options: EndpointOptions,
    /// Whom it knows by a link on the default network.
    pub links: Vec<links::Linked>,
    /// It runs in the background, with a log.
    pub detached: bool,
    /// It is forgotten when it ends.
    pub remove: bool,
    /// The process itself; none while it is being made.
    pub task: Option<Task>,
    /// The mount namespace that it and its children live in.
    pub mounts: Option<u64>,
    /// The netdp that waits for its end.
    pub monitor: Task,
    /// Seconds since 1970 when its command began; none while its network is being made.
    pub started: Option<u64>,
    /// How it ended; none while it runs.
    pub ended: Option<Ended>,
}

/// Where the network of a process comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is the host's own.
    Host,
    /// It has none but its own loopback.
    None,
    /// It is that of another process or endpoint, by id.
    Container(Id),
    /// It has one of its own, joined to networks.
    Networks(Vec<String>),
}

/// The end of a process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// Seconds since 1970.
    pub at: u64,
    /// Its exit code, or 128 and the signal; none when nobody was there to see it.
    pub code: Option<u8>,
}

impl Record {
    /// Whether it has begun and not ended.
    pub fn runs(&self) -> bool {
        self.started.is_some() && self.ended.is_none() && self.task.as_ref().is_some_and(Task::lives)
    }

    /// Whether somebody waits for its end, and will write it down.
    pub fn is_watched(&self) -> bool {
        self.monitor.lives()
    }

    /// Docker's word: `created`, `running` or `exited`.
    pub fn status(&self) -> &'static str {
        match (self.started, self.runs()) {
            (_, true) => "running",
            (None, false) => "created",
            (Some(_), false) => "exited",
        }
    }
}

/// The records of an instance.
#[derive(Clone, Debug)]
pub struct Processes {
    directory: PathBuf,
    logs: PathBuf,
}

impl Processes {
    /// Those of this place, where there may be none.
    pub fn of(place: &Place) -> Self {
        Self { directory: place.run_dir.join("processes"), logs: place.state_dir.join("logs") }
    }

    /// The directory of one process.
    pub fn directory(&self, id: &Id) -> PathBuf {
        self.directory.join(id.as_str())
    }

    /// The log of one process. It is in the state directory: the run directory is memory.
    pub fn log(&self, id: &Id) -> PathBuf {
        self.logs.join(format!("{id}.log"))
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Result<Vec<Record>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &self.directory)(error)),
        };
        let directories = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut records: Vec<Record> = directories.filter_map(|path| read(&path)).collect();
        records.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(records)
    }

    /// The one of this id.
    pub fn get(&self, id: &Id) -> Option<Record> {
        read(&self.directory(id))
    }

    /// The one that a word means.
    pub fn find(&self, word: &str) -> Result<Record, Error> {
        let records = self.all()?;
        let found =
            names::resolve("endpoint", word, &records, |record| (record.name.as_str(), record.id.as_str()));
        Ok(found?.clone())
    }

    /// Refuses a name that a process has, unless it is the endpoint of this id that has it.
    pub fn name_is_free(&self, name: &Name, id: Option<&Id>) -> Result<(), Error> {
        let records = self.all()?;
        match records.iter().find(|record| record.name == *name && Some(&record.id) != id) {
            Some(record) => Err(Error::taken(name, &record.id)),
            None => Ok(()),
        }
    }

    /// Writes one down: whoever reads sees the old or the new.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let directory = self.directory(&record.id);
        fs::create_dir_all(&directory).map_err(Error::file("make", &directory))?;
        let (new, path) = (directory.join("record.new"), directory.join(RECORD));
        let text = serde_json::to_vec(record).map_err(Error::Encode)?;
        // Variables of a process may be secret: they are for root alone.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        file.and_then(|mut file| file.write_all(&text)).map_err(Error::file("write", &new))?;
        fs::rename(&new, &path).map_err(Error::file("write", &path))
    }

    /// Forgets one, and its log.
    pub fn remove(&self, id: &Id) -> Result<(), Error> {
        log::remove(&self.log(id));
        let directory = self.directory(id);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &directory)(error))
            }
            _ => Ok(()),
        }
    }
}

const RECORD: &str = "record.json";

/// One that is half written, of another version, or not for the caller is as good as none.
fn read(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()
}

/// The end of a process by what the kernel says of it: its exit code, or 128 and the signal.
pub fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
