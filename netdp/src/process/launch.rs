//! Starts a process in two steps: its namespaces first, and when they are joined to their networks, its command.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::process::{Child, Command};

use super::init::{Answer, Namespaces, Refusal, Start};
use super::{Error, Task, namespace};

/// The program itself, also when its file was replaced.
pub const SELF: &str = "/proc/self/exe";
/// What takes longer than this hangs: it is system calls alone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process whose namespaces are there, and whose command has not begun. It ends when this is dropped.
#[derive(Debug)]
pub struct Launch {
    child: Child,
    channel: BufReader<UnixStream>,
    /// The process.
    pub task: Task,
    /// Its mount namespace.
    pub mounts: u64,
    held: File,
}

/// A process whose command runs.
#[derive(Debug)]
pub struct Started {
    /// It, as a child of this process.
    pub child: Child,
    /// Its mount namespace. The kernel gives the number of one that has ended to the next that is made: as long as this is open,
    /// those who are found by the number are its own.
    pub held: File,
}

impl Launch {
    /// Makes the namespaces. Without a log the process has netdp's own terminal or pipes.
    pub fn begin(namespaces: &Namespaces, log: Option<File>) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Prepare(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| failed(errno.into()))?;
        let mut command = Command::new(SELF);
        command.arg0("netdp").args(["init", "--channel", &theirs.as_raw_fd().to_string()]);
        if let Some(log) = log {
            let also = log.try_clone().map_err(failed)?;
            command.stdin(Stdio::null()).stdout(log).stderr(also);
        }
        let child = command.spawn().map_err(failed)?;
        drop(theirs);
        ours.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut channel = BufReader::new(ours);
        tell(&channel, namespaces)?;
        match hear(&mut channel)? {
            Some(Answer::Ready) => {}
            Some(Answer::Refused(refusal)) => return Err(refused(refusal, "")),
            None => return Err(Error::Prepare("it ended".to_owned())),
        }
        let pid = child.id().unwrap_or_default();
        let ended = || Error::Prepare("it ended".to_owned());
        let task = Task::of(pid).ok_or_else(ended)?;
        let held = namespace::open_mounts(pid).map_err(failed)?;
        let mounts = held.metadata().map_err(failed)?.ino();
        Ok(Self { child, channel, task, mounts, held })
    }

    /// Lets the command begin, and knows that it has.
    pub fn start(mut self, start: &Start) -> Result<Started, Error> {
        tell(&self.channel, start)?;
        let command = start.program.command.first().map(String::as_str).unwrap_or_default();
        match hear(&mut self.channel)? {
            // The socket closes with the exec.
            None => Ok(Started { child: self.child, held: self.held }),
            Some(Answer::Refused(refusal)) => Err(refused(refusal, command)),
            Some(Answer::Ready) => Err(Error::Prepare("it answers out of turn".to_owned())),
        }
    }
}

/// A refusal in words.
pub fn refused(refusal: Refusal, command: &str) -> Error {
    match refusal {
        Refusal::Prepare(why) => Error::Prepare(why),
        Refusal::Setting(why) => Error::Setting(why),
        Refusal::Execute(cause, code) => Error::Execute { command: command.to_owned(), cause, code },
    }
}

fn tell(channel: &BufReader<UnixStream>, what: &impl serde::Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(what).map_err(Error::Encode)?;
    line.push(b'\n');
    channel.get_ref().write_all(&line).map_err(|error| Error::Prepare(error.to_string()))
}

/// None when the other end has closed.
fn hear(channel: &mut BufReader<UnixStream>) -> Result<Option<Answer>, Error> {
    let mut line = String::new();
    let failed = |error: std::io::Error| Error::Prepare(error.to_string());
    if channel.read_line(&mut line).map_err(failed)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|error| failed(error.into()))
}
