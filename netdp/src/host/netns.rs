//! Network namespaces: opening, telling apart, entering.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, fstatfs, statfs},
};

/// The namespace of the calling thread. Not `/proc/self`, which is the main thread's.
const HERE: &str = "/proc/thread-self/ns/net";

/// A network namespace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path cannot be opened.
    #[error("cannot open network namespace {path}: {cause}; {}", remedy(path, cause))]
    Open {
        /// As the user gave it.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The path is something else.
    #[error(
        "{path} is not a network namespace: it is {what}; give the path of one, e.g. /run/netns/NAME or \
         /proc/PID/ns/net"
    )]
    Other {
        /// As the user gave it.
        path: PathBuf,
        /// What is found there.
        what: &'static str,
    },
    /// The path is the namespace that netdp itself is in.
    #[error(
        "{path} is the network namespace of this host itself, not that of a container; a container that is to \
         share it needs no endpoint"
    )]
    Own {
        /// As the user gave it.
        path: PathBuf,
    },
    /// There is no such process.
    #[error("there is no process {pid}; give the number of one that runs, as seen from here (see `ps`)")]
    NoProcess {
        /// As the user gave it.
        pid: u32,
    },
    /// The namespace cannot be entered or made.
    #[error("cannot {what} a network namespace: {}; run netdp as root, or with CAP_SYS_ADMIN", cause.desc())]
    Enter {
        /// `enter` or `create`.
        what: &'static str,
        /// What the kernel said.
        cause: Errno,
    },
    /// The namespace cannot be held, or not let go of.
    #[error("cannot hold a network namespace by a mount at {path}: {cause}; run netdp as root")]
    Hold {
        /// Where the mount is.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// No thread to do it on.
    #[error(
        "cannot start a thread for another network namespace: {cause}; is the limit of processes reached?"
    )]
    Thread {
        /// What the kernel said.
        cause: io::Error,
    },
    /// The work in the namespace ended by a panic.
    #[error("work in another network namespace was broken off; this is a mistake in netdp, please report it")]
    Panicked,
}

fn remedy(path: &Path, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            "give the path of one, e.g. /run/netns/NAME or /proc/PID/ns/net".to_owned()
        }
        io::ErrorKind::PermissionDenied => "run netdp as root, with CAP_SYS_PTRACE".to_owned(),
        _ => format!("see what `ls -l {}` says", path.display()),
    }
}

/// What tells one namespace from another for as long as either exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Device number of the kernel's namespace file system.
    pub device: u64,
    /// Inode number of the namespace in it.
    pub inode: u64,
}

/// The path of the network namespace that a process is in.
pub fn path_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Opens the network namespace of a process.
pub fn open_pid(pid: u32) -> Result<OwnedFd, Error> {
    match open(&path_of(pid)) {
        Err(Error::Open { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            Err(Error::NoProcess { pid })
        }
        result => result,
    }
}

/// Opens a network namespace by path, and refuses what is none, and the one that the caller is in.
pub fn open(path: &Path) -> Result<OwnedFd, Error> {
    let file = OpenOptions::new()
        .read(true)
        // A pipe or a terminal given by mistake must not stop or take over the caller.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|cause| Error::Open { path: path.to_owned(), cause })?;
    if let Some(what) = other_than_netns(&file) {
        return Err(Error::Other { path: path.to_owned(), what });
    }
    let ns = OwnedFd::from(file);
    if identity(&ns)? == identity(&here()?)? {
        return Err(Error::Own { path: path.to_owned() });
    }
    Ok(ns)
}

/// Opens the namespace of the calling thread.
pub fn here() -> Result<OwnedFd, Error> {
    File::open(HERE).map(OwnedFd::from).map_err(|cause| Error::Open { path: HERE.into(), cause })
}

/// Tells which namespace it is.
pub fn identity(ns: &impl AsFd) -> Result<Identity, Error> {
    let status = ns.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    let status = status.map_err(|cause| Error::Open { path: "(open)".into(), cause })?;
    Ok(Identity { device: status.dev(), inode: status.ino() })
}

fn other_than_netns(file: &File) -> Option<&'static str> {
    if fstatfs(file).map(|status| status.filesystem_type()) != Ok(NSFS_MAGIC) {
        return Some("an ordinary file, directory or device");
    }
    // SAFETY: NS_GET_NSTYPE takes no argument, so the kernel reads and writes no memory of ours; the
    // descriptor is open for as long as `file` lives.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    (kind != libc::CLONE_NEWNET).then_some("a namespace of another kind")
}

/// Runs `work` inside `ns`. The caller's thread goes there and comes back: a thread of its own would have to wait for a
/// processor, on a busy host for a tick of the kernel's clock. Only a thread that may not come back has another one go.
pub fn in_netns<R: Send>(ns: BorrowedFd<'_>, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
    let home = here()?;
    if go(home.as_fd()).is_err() {
        return on_thread(|| go(ns).map(|()| work()));
    }
    go(ns)?;
    let _way_back = WayBack(home);
    Ok(work())
}

fn go(ns: BorrowedFd<'_>) -> Result<(), Error> {
    setns(ns, CloneFlags::CLONE_NEWNET).map_err(|cause| Error::Enter { what: "enter", cause })
}

/// Brings the thread back, also after a panic.
struct WayBack(OwnedFd);

impl Drop for WayBack {
    fn drop(&mut self) {
        if go(self.0.as_fd()).is_err() {
            // It has been allowed just before. Whatever the thread did from here on, it would do to a container.
            eprintln!(
                "error: netdp cannot return from a container's network namespace, and ends before it changes anything \
                 there; run the command again, and report this"
            );
            std::process::abort();
        }
    }
}

/// Makes a network namespace that no name holds: it ends with the returned descriptor and what is inside.
pub fn create() -> Result<OwnedFd, Error> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|cause| Error::Enter { what: "create", cause })?;
        here()
    })
}

/// Holds a namespace by a mount at `path`: it lives for as long as that does.
pub fn hold(ns: &impl AsFd, path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Hold { path: path.to_owned(), cause };
    File::create(path).map_err(failed)?;
    let source = format!("/proc/self/fd/{}", ns.as_fd().as_raw_fd());
    let bind = mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    bind.map_err(|errno| failed(errno.into()))
}

/// Takes off what [`hold`] has made. Where it has made nothing that is no error.
pub fn release(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Hold { path: path.to_owned(), cause };
    while is_held(path) {
        umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
            .map_err(|errno| failed(errno.into()))?;
    }
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed(cause)),
        _ => Ok(()),
    }
}

fn is_held(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type() == NSFS_MAGIC)
}

/// The thread ends with the call, and with it its membership of whatever namespace it went to.
fn on_thread<R: Send>(work: impl FnOnce() -> Result<R, Error> + Send) -> Result<R, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|cause| Error::Thread { cause })?;
        thread.join().unwrap_or(Err(Error::Panicked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_network_namespace_is_refused_by_name() {
        let message = |path: &str| open(Path::new(path)).expect_err("no network namespace").to_string();
        assert!(
            message("/dev/null").starts_with("/dev/null is not a network namespace: it is an ordinary file")
        );
        assert!(message("/proc/self/ns/mnt").contains("a namespace of another kind"));
        assert!(message("/nonexistent").contains("No such file or directory"));
        assert!(message("/nonexistent").ends_with("e.g. /run/netns/NAME or /proc/PID/ns/net"));
        assert!(message("/proc/self/ns/net").contains("of this host itself"));
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = open_pid(u32::MAX).expect_err("no such process");
        assert!(matches!(error, Error::NoProcess { pid: u32::MAX }));
    }

    #[test]
    fn work_elsewhere_leaves_the_thread_at_home_even_after_a_panic() {
        let other = create().expect("a namespace, which only root may make");
        let home = identity(&here().expect("own namespace")).expect("an identity");
        let there = in_netns(other.as_fd(), || identity(&here().expect("there"))).expect("entered");
        assert_eq!(there.expect("an identity"), identity(&other).expect("an identity"));
        assert_ne!(identity(&other).expect("an identity"), home);
        let panicked = std::panic::catch_unwind(|| in_netns(other.as_fd(), || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(identity(&here().expect("own namespace")).expect("an identity"), home);
    }

    #[test]
    fn a_namespace_is_itself() {
        let here = here().expect("own namespace");
        let identified = identity(&here).expect("an identity");
        assert_eq!(identified, identity(&here).expect("an identity"));
        assert_ne!(identified.inode, 0);
    }
}
