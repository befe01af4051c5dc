//! The inside of a process: a netdp of its own that makes the namespaces, waits until they are joined to their networks, and
//! then becomes the command.
//!
//! It is a program of its own (`netdp init`, hidden) because it must be single-threaded, and because nothing but a few system
//! calls is safe between fork and exec. It speaks with whoever started it over a socket, one JSON line each way and twice; when
//! the other end closes too early it ends without having begun.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Group, Uid, User, initgroups, setgid, setgroups, sethostname, setuid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::background::REPORT;
use crate::netlink::Netlink;

/// The first line in: where the process is to live.
#[derive(Debug, Deserialize, Serialize)]
pub struct Namespaces {
    /// Its network.
    pub network: NetworkFrom,
    /// The name of its host.
    pub hostname: String,
    /// Mounts below this are netdp's own, and must be able to go while the process stays.
    pub run_dir: PathBuf,
}

/// Where the network of a process comes from.
#[derive(Debug, Deserialize, Serialize)]
pub enum NetworkFrom {
    /// A new, empty one.
    New,
    /// That of whoever started it.
    Here,
    /// The one at this path.
    Path(PathBuf),
}

/// The second line in: all is ready, begin.
#[derive(Debug, Deserialize, Serialize)]
pub struct Start {
    /// Files that are mounted over others: from, to.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// What to become.
    pub program: Program,
}

/// A command with all that it begins with.
#[derive(Debug, Deserialize, Serialize)]
pub struct Program {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Variables beyond those that are there.
    pub environment: Vec<(String, String)>,
    /// Where it begins.
    pub workdir: PathBuf,
    /// `USER[:GROUP]`, by names or numbers.
    pub user: Option<String>,
}

/// The lines out.
#[derive(Debug, Deserialize, Serialize)]
pub enum Answer {
    /// The namespaces are there.
    Ready,
    /// It cannot be done.
    Refused(Refusal),
}

/// Why the process cannot begin.
#[derive(Debug, Deserialize, Serialize)]
pub enum Refusal {
    /// Namespaces or mounts.
    Prepare(String),
    /// Directory, user or group.
    Setting(String),
    /// The command itself: what the kernel said, and the exit code that a shell would have for it.
    Execute(String, u8),
}

impl Refusal {
    fn of(what: &str) -> impl FnOnce(Errno) -> Self {
        let what = what.to_owned();
        move |errno| Self::Prepare(format!("cannot {what}: {}", errno.desc()))
    }
}

/// Becomes the command, or says why not and returns an exit code.
pub async fn run(channel: RawFd) -> u8 {
    let Ok(mut channel) = adopt(channel) else { return 1 };
    let Some(namespaces) = receive::<Namespaces>(&mut channel) else { return 1 };
    if let Err(refusal) = enter(&namespaces).await {
        return answer(&channel, &Answer::Refused(refusal));
    }
    if answer(&channel, &Answer::Ready) != 1 {
        return 1;
    }
    let Some(start) = receive::<Start>(&mut channel) else { return 1 };
    let refusal = match lay_over(&start.mounts) {
        Ok(()) => start.program.become_it(),
        Err(refusal) => refusal,
    };
    answer(&channel, &Answer::Refused(refusal))
}

/// The socket was left open for this program alone; the command must not have it, and its closing says that the command runs.
fn adopt(fd: RawFd) -> Result<BufReader<UnixStream>, Errno> {
    // SAFETY: it is only looked at here, and a number that is not open is refused by the kernel.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, as the call before has shown, and nobody else in this new program knows of it.
    let owned: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
    Ok(BufReader::new(UnixStream::from(owned)))
}

fn receive<T: DeserializeOwned>(channel: &mut BufReader<UnixStream>) -> Option<T> {
    let mut line = String::new();
    channel.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Always 1: what was answered says more than the exit code. 2 when nobody hears it any more.
fn answer(channel: &BufReader<UnixStream>, answer: &Answer) -> u8 {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    if channel.get_ref().write_all(&line).is_ok() { 1 } else { 2 }
}

async fn enter(namespaces: &Namespaces) -> Result<(), Refusal> {
    let path = match &namespaces.network {
        NetworkFrom::Path(path) => Some(File::open(path).map_err(|error| {
            Refusal::Prepare(format!("cannot open network namespace {}: {error}", path.display()))
        })?),
        NetworkFrom::New | NetworkFrom::Here => None,
    };
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, matches!(namespaces.network, NetworkFrom::New));
    unshare(flags).map_err(Refusal::of("make namespaces"))?;
    if let Some(file) = path {
        setns(file, CloneFlags::CLONE_NEWNET).map_err(Refusal::of("join the network namespace"))?;
    }
    // What the host unmounts later goes here too, and nothing that is mounted here is seen there.
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, private, none).map_err(Refusal::of("make the mounts private"))?;
    let_go(&namespaces.run_dir);
    sethostname(&namespaces.hostname).map_err(Refusal::of("set the hostname"))?;
    match namespaces.network {
        NetworkFrom::Here => Ok(()),
        NetworkFrom::Path(_) => {
            renew_sysfs();
            Ok(())
        }
        NetworkFrom::New => {
            renew_sysfs();
            open_low_ports();
            raise_loopback().await.map_err(Refusal::Prepare)
        }
    }
}

/// The pins and the namespaces that netdp holds would live on in this copy of the mounts after `netdp down`.
fn let_go(run_dir: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut below: Vec<&Path> =
        points.filter(|point| point.starts_with(run_dir) && *point != run_dir).collect();
    below.reverse();
    for point in below {
        // One that is gone already is what is wanted.
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

/// `/sys/class/net` shows the interfaces of the namespace in which it was mounted, as `ip netns exec` knows. A host without it
/// has none to show.
fn renew_sysfs() {
    let none = None::<&str>;
    if umount2("/sys", MntFlags::MNT_DETACH).is_ok() {
        let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none);
    }
}

/// As Docker has it in a container: whoever runs there may use any port, and ping. A kernel without a family has no such setting.
fn open_low_ports() {
    for (path, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/{path}"), value);
    }
}

async fn raise_loopback() -> Result<(), String> {
    let netlink = Netlink::here().map_err(|error| error.to_string())?;
    let link = netlink.link("lo").await.map_err(|error| error.to_string())?;
    let index = link.map_or(1, |link| link.index);
    netlink.set_up(index).await.map_err(|error| error.to_string())
}

fn lay_over(mounts: &[(PathBuf, PathBuf)]) -> Result<(), Refusal> {
    let none = None::<&str>;
    for (from, to) in mounts {
        match mount(Some(from), to, none, MsFlags::MS_BIND, none) {
            Ok(()) => {}
            // There is nothing to mount over, and the host's own files are not for us to make.
            Err(Errno::ENOENT) => {
                eprintln!("warning: this host has no {0}, so that the process has none", to.display());
            }
            Err(errno) => return Err(Refusal::of(&format!("mount over {}", to.display()))(errno)),
        }
    }
    Ok(())
}

impl Program {
    /// Becomes the command. Returns only when that cannot be.
    pub fn become_it(&self) -> Refusal {
        let Some((program, arguments)) = self.command.split_first() else {
            return Refusal::Setting("there is no command".to_owned());
        };
        if let Err(error) = std::env::set_current_dir(&self.workdir) {
            return Refusal::Setting(format!("cannot begin in {}: {error}", self.workdir.display()));
        }
        let home = match self.user.as_deref().map(become_user).transpose() {
            Ok(home) => home.flatten(),
            Err(why) => return Refusal::Setting(why),
        };
        let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
        variables.extend(home.as_deref().map(|home| ("HOME", home)));
        variables.extend(self.environment.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let mut command = Command::new(program);
        command.args(arguments).env_remove(REPORT).envs(variables);
        let error = command.exec();
        let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        Refusal::Execute(error.to_string(), code)
    }
}

/// Takes on a user with its groups; the home directory of one that has any.
fn become_user(text: &str) -> Result<Option<String>, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let failed = |errno: Errno| format!("cannot become user {text}: {}", errno.desc());
    let known = match user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(user),
    };
    let known = known.map_err(failed)?;
    let uid = match (&known, user.parse()) {
        (Some(known), _) => known.uid,
        (None, Ok(number)) => Uid::from_raw(number),
        (None, Err(_)) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    let gid = group.map(group_of).transpose()?;
    match (&known, gid) {
        (Some(known), None) => {
            let name = CString::new(known.name.clone()).unwrap_or_default();
            initgroups(&name, known.gid).map_err(failed)?;
        }
        _ => setgroups(&[]).map_err(failed)?,
    }
    let gid = gid.or(known.as_ref().map(|known| known.gid)).unwrap_or(Gid::from_raw(0));
    setgid(gid).map_err(failed)?;
    setuid(uid).map_err(failed)?;
    Ok(known.and_then(|known| known.dir.to_str().map(str::to_owned)))
}

fn group_of(text: &str) -> Result<Gid, String> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    let group =
        Group::from_name(text).map_err(|errno| format!("cannot look up group {text}: {}", errno.desc()))?;
    group
        .map(|group| group.gid)
        .ok_or_else(|| format!("unable to find group {text}: no matching entries in group file"))
}
