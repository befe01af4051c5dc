//! Who lives in the mount namespace of a process: it, its children, and what `exec` put there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Task;

/// A process that makes children faster than they are ended is looked at again this often.
const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// Number of the mount namespace of a process.
pub fn mounts_of(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|it| it.ino())
}

/// Ends everybody who is left in a mount namespace, as the end of a container's first process does. Each process that netdp
/// starts has a mount namespace of its own, so that nobody else is hit; that of netdp itself never is.
pub async fn end_rest(mounts: u64) {
    if mounts_of(std::process::id()).is_none_or(|own| own == mounts) {
        return;
    }
    for _ in 0..ROUNDS {
        let left = members(mounts);
        if left.is_empty() {
            return;
        }
        for task in left {
            // It may have ended in between, which is what is wanted.
            let _ = send(&task, Signal::SIGKILL);
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!("some children of the process do not end");
}

/// Sends a signal to a process, unless it has ended.
pub fn send(task: &Task, signal: Signal) -> Result<(), Errno> {
    if !task.lives() {
        return Err(Errno::ESRCH);
    }
    kill(Pid::from_raw(task.pid.cast_signed()), signal)
}

fn members(mounts: u64) -> Vec<Task> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| number(&entry.ok()?.path()));
    numbers.filter(|pid| mounts_of(*pid) == Some(mounts)).filter_map(Task::of).filter(Task::lives).collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}
