//! The resolver as a process: started by the controller, independent of it from then on, one for each run directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};

use super::Error;
use crate::host::lock;
use crate::instance::Place;

/// How long it may take to begin or to end; what is being asked when it is told to end is still answered.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_millis(10);
/// Octets from which on the log is begun anew.
const LONG: u64 = 1 << 20;
/// Our own binary, also when another has taken its place on the disk.
const BINARY: &str = "/proc/self/exe";

/// The controller's side of it.
#[derive(Debug)]
pub struct Resolver {
    run_dir: PathBuf,
    arguments: Vec<PathBuf>,
    /// What this controller has started: whoever has started a process must take note of its end.
    child: Option<Child>,
}

impl Resolver {
    /// Of an instance.
    pub fn new(place: &Place, resolv_conf: &Path, servers: &[IpAddr]) -> Self {
        let (run_dir, state_dir) = (place.run_dir.clone(), place.state_dir.clone());
        let words = ["resolver", "--run-dir", "--state-dir", "--resolv-conf"].map(PathBuf::from);
        let [command, run, state, conf] = words;
        let mut arguments =
            vec![command, run, run_dir.clone(), state, state_dir, conf, resolv_conf.to_owned()];
        arguments.extend(servers.iter().flat_map(|server| ["--dns".into(), server.to_string().into()]));
        Self { run_dir, arguments, child: None }
    }

    /// Has one serve that is of this version and was told the same, and waits until it does.
    ///
    /// # Errors
    /// It cannot be started, or does not begin to serve.
    pub async fn begin(&mut self) -> Result<(), Error> {
        let before = lock::resolver_pid(&self.run_dir);
        if before.is_some_and(|pid| self.is_like_ours(pid)) {
            return Ok(());
        }
        self.start()?;
        let begin = Instant::now();
        loop {
            let now = lock::resolver_pid(&self.run_dir);
            if now.is_some() && now == self.child.as_ref().map(Child::id) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE || self.has_ended() {
                return Err(Error::NotServing { log: self.log() });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Starts it again when it is not there any more.
    pub fn look_after(&mut self) {
        let is_beginning = self.child.is_some() && !self.has_ended();
        if is_beginning || lock::resolver_pid(&self.run_dir).is_some() {
            return;
        }
        tracing::warn!("the resolver has ended; starting it again");
        if let Err(error) = self.start() {
            tracing::warn!("{error}");
        }
    }

    fn start(&mut self) -> Result<(), Error> {
        let failed = || Error::socket("start");
        let log = self.open_log().map_err(failed())?;
        let mut command = Command::new(BINARY);
        command.arg0("netdp").args(&self.arguments).current_dir("/");
        // What says that a service is ready is the controller's to say.
        command.env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(failed())?);
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            self.child = None;
        }
        ended
    }

    fn log(&self) -> PathBuf {
        self.run_dir.join("resolver.log")
    }

    fn open_log(&self) -> io::Result<File> {
        let path = self.log();
        let is_long = fs::metadata(&path).is_ok_and(|log| log.len() > LONG);
        OpenOptions::new().create(true).write(true).append(!is_long).truncate(is_long).open(path)
    }

    /// The same binary with the same arguments.
    fn is_like_ours(&self, pid: u32) -> bool {
        let file = |path: &str| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        let ours = file(BINARY);
        let told: Vec<u8> = self
            .arguments
            .iter()
            .flat_map(|argument| argument.as_os_str().as_bytes().iter().copied().chain([0]))
            .collect();
        ours.is_some()
            && ours == file(&format!("/proc/{pid}/exe"))
            && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(&told))
    }
}

/// Leaves the group and the session of whoever has started this: their signals, and the end of their terminal, are not ours.
pub fn leave_parent() {
    // The leader of a group has one already.
    let _ = setsid();
}

/// Each server that is asked takes a socket: a thousand questions, three servers, each asked twice.
const SOCKETS: u64 = 16_384;

/// Takes as many descriptors as questions may take. A service has 1024, and one container that asks what nobody answers would
/// leave none for the others.
pub fn make_room() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(SOCKETS).max(soft), hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot open more files than usual: {}", errno.desc());
    }
}

/// Becomes the one resolver of a run directory; the one before is ended, and has answered what it was asked.
///
/// # Errors
/// It does not end.
pub async fn take_over(run_dir: &Path) -> Result<lock::Guard, Error> {
    let mut ending = Waiting::new();
    loop {
        if let Some(guard) = lock::resolver(run_dir)? {
            return Ok(guard);
        }
        ending.press(run_dir).await?;
    }
}

/// Ends the resolver of a run directory, if there is one.
///
/// # Errors
/// It does not end.
pub async fn end(run_dir: &Path) -> Result<(), Error> {
    let mut ending = Waiting::new();
    while lock::resolver_pid(run_dir).is_some() {
        ending.press(run_dir).await?;
    }
    Ok(())
}

/// Waits for the end of a process that it was told to.
struct Waiting {
    begin: Instant,
    told: Option<u32>,
}

impl Waiting {
    fn new() -> Self {
        Self { begin: Instant::now(), told: None }
    }

    async fn press(&mut self, run_dir: &Path) -> Result<(), Error> {
        let Some(pid) = lock::resolver_pid(run_dir) else { return Ok(()) };
        if self.begin.elapsed() > PATIENCE {
            return Err(Error::Stays(pid));
        }
        if self.told.replace(pid) != Some(pid) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        }
        tokio::time::sleep(INTERVAL).await;
        Ok(())
    }
}
