//! The locks of a run directory. The kernel releases them with the process, however it ends.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use tokio::{sync::oneshot, time::timeout};

/// A change takes milliseconds; what holds the lock longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A lock that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lock file cannot be used.
    #[error("cannot lock {path}: {cause}; choose a run directory that you may write to (--run-dir)")]
    File {
        /// Its path.
        path: PathBuf,
        /// What was wrong.
        cause: io::Error,
    },
    /// Another process changes something and does not come to an end.
    #[error(
        "another netdp ({}) has held {path} for {} s; wait for it, or end it: what it has done so far stays whole",
        process(*holder), PATIENCE.as_secs()
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it has said so.
        holder: Option<u32>,
    },
    /// Another controller serves the run directory.
    #[error(
        "another netdp ({}) serves the run directory {run_dir} already; end it first, or give this one a directory \
         of its own (--run-dir)",
        process(*holder)
    )]
    Served {
        /// The run directory.
        run_dir: PathBuf,
        /// Who serves it, if it has said so.
        holder: Option<u32>,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "of unknown process id".to_owned(), |pid| format!("process {pid}"))
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Guard {
    _file: Flock<File>,
}

/// Waits for the right to change things on this instance. `run_dir` exists.
pub async fn change(run_dir: &Path) -> Result<Guard, Error> {
    change_within(run_dir, PATIENCE).await
}

async fn change_within(run_dir: &Path, patience: Duration) -> Result<Guard, Error> {
    let path = run_dir.join("lock");
    let failed = |cause| Error::File { path: path.clone(), cause };
    let file = open(&path)?;
    let (file, errno) = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return hold(lock).map_err(failed),
        Err(refused) => refused,
    };
    if errno != Errno::EWOULDBLOCK {
        return Err(failed(errno.into()));
    }
    match timeout(patience, wait(file).map_err(failed)?).await {
        Ok(Ok(Ok(lock))) => hold(lock).map_err(failed),
        Ok(Ok(Err((_file, errno)))) => Err(failed(errno.into())),
        Ok(Err(_)) | Err(_) => Err(Error::Busy { holder: holder(&path), path }),
    }
}

type Locked = Result<Flock<File>, (File, Errno)>;

/// Waits in the kernel's queue, where nobody is overtaken, and on a thread of its own, as that wait cannot
/// be broken off. A lock that comes too late is dropped with the channel.
fn wait(file: File) -> io::Result<oneshot::Receiver<Locked>> {
    let (done, waiting) = oneshot::channel();
    thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let mut locked = Flock::lock(file, FlockArg::LockExclusive);
        while let Err((file, Errno::EINTR)) = locked {
            locked = Flock::lock(file, FlockArg::LockExclusive);
        }
        let _ = done.send(locked);
    })?;
    Ok(waiting)
}

/// Becomes the one controller that serves `run_dir`, or tells who that is.
pub fn controller(run_dir: &Path) -> Result<Guard, Error> {
    let path = run_dir.join("controller.lock");
    match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => hold(lock).map_err(|cause| Error::File { path, cause }),
        Err((_file, Errno::EWOULDBLOCK)) => {
            Err(Error::Served { run_dir: run_dir.to_owned(), holder: holder(&path) })
        }
        Err((_file, errno)) => Err(Error::File { path, cause: errno.into() }),
    }
}

/// Becomes the one resolver of `run_dir`; `None` while there is another one.
pub fn resolver(run_dir: &Path) -> Result<Option<Guard>, Error> {
    let path = run_dir.join(RESOLVER);
    match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => hold(lock).map(Some).map_err(|cause| Error::File { path, cause }),
        Err((_file, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_file, errno)) => Err(Error::File { path, cause: errno.into() }),
    }
}

/// The process that answers for names, or `None` when none does.
pub fn resolver_pid(run_dir: &Path) -> Option<u32> {
    pid_behind(&run_dir.join(RESOLVER))
}

/// Whether the lock that the resolver holds is still that of `run_dir`, which may have been removed.
pub fn is_resolver_wanted(run_dir: &Path) -> bool {
    holder(&run_dir.join(RESOLVER)) == Some(std::process::id())
}

/// The resolver's lock file.
const RESOLVER: &str = "resolver.lock";

/// The process that serves `run_dir`, or `None` when no controller runs. Takes no lasting lock.
pub fn controller_pid(run_dir: &Path) -> Option<u32> {
    pid_behind(&run_dir.join("controller.lock"))
}

fn pid_behind(path: &Path) -> Option<u32> {
    let file = File::open(path).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_file, Errno::EWOULDBLOCK)) => holder(path),
        _ => None,
    }
}

/// For root alone: whoever can read a file can lock it (flock(2)), and keep every command waiting.
fn open(path: &Path) -> Result<File, Error> {
    let failed = |cause| Error::File { path: path.to_owned(), cause };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(failed)?;
    // Earlier versions made it for everybody.
    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    Ok(file)
}

const MODE: u32 = 0o600;

/// Writes into the lock file who holds it.
fn hold(mut lock: Flock<File>) -> io::Result<Guard> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(Guard { _file: lock })
}

fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    #[test]
    fn the_second_controller_is_told_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(controller_pid(dir.path()), None);
        let guard = controller(dir.path()).expect("free");
        let error = controller(dir.path()).expect_err("held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(controller_pid(dir.path()), Some(std::process::id()));
        drop(guard);
        assert_eq!(controller_pid(dir.path()), None);
        drop(controller(dir.path()).expect("free again"));
    }

    #[test]
    fn a_change_waits_for_the_one_before_it() {
        let dir = tempfile::tempdir().expect("a directory");
        now(async {
            let first = change(dir.path()).await.expect("free");
            let error = change_within(dir.path(), Duration::from_millis(50)).await.expect_err("held");
            assert!(matches!(error, Error::Busy { holder: Some(pid), .. } if pid == std::process::id()));
            let release = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(first);
            };
            let (second, ()) = tokio::join!(change(dir.path()), release);
            drop(second.expect("released"));
        });
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = controller(Path::new("/nonexistent")).expect_err("no directory");
        assert!(error.to_string().contains("/nonexistent/controller.lock"), "{error}");
    }
}
