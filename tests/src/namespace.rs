//! Network namespaces by name, inside a mount and network namespace that only this test process has.
//!
//! The process leaves the machine's namespaces before `main` and before any thread: a function in
//! `.init_array` calls unshare(2) while the process is still single-threaded, so that every thread inherits
//! the private mounts. Bind mounts of namespaces and bpffs instances then exist only as long as the process:
//! the kernel takes them down when its last task ends, even by SIGKILL. No test can reach the machine's own
//! interfaces, because none of its threads is in their namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::process::{Ran, run};

/// What the initialiser found: 0 done, -1 it never ran, else the errno that stopped it.
static ISOLATED: AtomicI32 = AtomicI32::new(-1);

#[used]
#[unsafe(link_section = ".init_array")]
static ISOLATE: extern "C" fn() = isolate;

/// Runs before `main`: only system calls, because the standard library makes no promise that early.
extern "C" fn isolate() {
    let result = leave_machine().err().map_or(0, |errno| errno as i32);
    ISOLATED.store(result, Ordering::Relaxed);
}

fn leave_machine() -> Result<(), Errno> {
    // Some tests have two thousand sockets open, and 1024 files are what shells and guests allow at first.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // Over /run: a test that forgets its run directory must not find that of the machine's own netdp.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
}

/// Fails the calling test, with the reason, when the process could not isolate itself.
pub fn assert_isolated() {
    match ISOLATED.load(Ordering::Relaxed) {
        0 => {}
        -1 => panic!("the initialiser of tests::namespace did not run"),
        errno => panic!(
            "cannot unshare mount and network namespaces: {}; these tests need root",
            Errno::from_raw(errno).desc()
        ),
    }
}

/// A directory for one test bed, in memory, that no other bed of this process has.
pub(crate) fn private_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    assert_isolated();
    let path = PathBuf::from(format!("/run/bed{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&path).unwrap();
    path
}

/// One network namespace, held by a descriptor and by a bind mount that gives it a path.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    file: OwnedFd,
}

impl Namespace {
    /// A new namespace whose path is `dir/name`, with `lo` up and forwarding off.
    pub fn new(dir: &Path, name: &str) -> Self {
        assert_isolated();
        let namespace = Self::of(dir, name, new_netns());
        namespace.set_sysctl("net/ipv4/ip_forward", "0");
        namespace.sh("ip link set lo up").done();
        namespace
    }

    /// One that something else has made and that stays as it is, under the path `dir/name`.
    pub fn of(dir: &Path, name: &str, file: OwnedFd) -> Self {
        let path = dir.join(name);
        File::create_new(&path).unwrap();
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let none: Option<&str> = None;
        mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none).unwrap();
        Self { name: name.to_owned(), path, file }
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that opens it, as `netdp attach --netns` and `nsenter --net=` take it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `job` on a thread of its own inside the namespace. Sockets made there stay in the namespace
    /// and may be used from any thread afterwards.
    pub fn enter<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
            job()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a thread that lives inside the namespace, also when the value is dropped before it.
    pub fn spawn<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        let file = self.file.try_clone().unwrap();
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            job()
        })
    }

    /// A command that will run inside the namespace and die with the thread that starts it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let fd = self.file.as_raw_fd();
        let enter = move || join_namespace(fd);
        // SAFETY: between fork and exec the closure makes two system calls and touches no lock and no
        // allocator. The descriptor stays open while `self` lives, and a spawn after that fails with EBADF.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a shell line inside, with the usual deadline.
    pub fn sh(&self, line: &str) -> Ran {
        run(self.command("sh").args(["-c", line]))
    }

    /// Runs a shell line inside that must succeed, and gives what it printed.
    pub fn out(&self, line: &str) -> String {
        self.sh(line).ok().stdout
    }

    /// Reads a sysctl by its path under /proc/sys.
    pub fn sysctl(&self, path: &str) -> String {
        let file = format!("/proc/sys/{path}");
        self.enter(|| fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"))).trim().to_owned()
    }

    /// A counter of the namespace's stack: `Udp` and `RcvbufErrors` of the table `snmp`, say, or `TcpExt` and
    /// `TCPSynRetrans` of `netstat` (net/ipv4/proc.c).
    pub fn stack_counter(&self, table: &str, group: &str, name: &str) -> u64 {
        let file = format!("/proc/thread-self/net/{table}");
        let text = self.enter(|| fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")));
        let mut rows =
            text.lines().filter_map(|line| Some(line.strip_prefix(group)?.strip_prefix(": ")?.split(' ')));
        let (names, mut values) = (rows.next().unwrap(), rows.next().unwrap());
        let column = names.into_iter().position(|found| found == name).unwrap();
        values.nth(column).unwrap().parse().unwrap()
    }

    /// Writes a sysctl by its path under /proc/sys.
    pub fn set_sysctl(&self, path: &str, value: &str) {
        let file = format!("/proc/sys/{path}");
        self.enter(|| fs::write(&file, value).unwrap_or_else(|e| panic!("{file}: {e}")));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Errors are left to the bed, which looks for remaining mounts when it goes.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

fn new_netns() -> OwnedFd {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // thread-self: /proc/self is the main thread, which stayed where it was.
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    };
    thread::scope(|scope| scope.spawn(make).join().unwrap())
}

fn join_namespace(fd: i32) -> io::Result<()> {
    // SAFETY: both are plain system calls on integers; neither reads memory of ours.
    let failed = unsafe {
        libc::setns(fd, libc::CLONE_NEWNET) != 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
