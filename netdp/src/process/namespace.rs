//! Who lives in the mount namespace of a process: it, its children, and what `exec` put there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Task;
use crate::names::Id;

/// A process that makes children faster than they are ended is looked at again this often.
const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// Number of the mount namespace of a process.
pub fn mounts_of(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|it| it.ino())
}

/// Holds the mount namespace of a process.
pub fn open_mounts(pid: u32) -> io::Result<File> {
    File::open(format!("/proc/{pid}/ns/mnt"))
}

/// Ends everybody who is left in a mount namespace that is held, as the end of a container's first process does. Each process
/// that netdp starts has a mount namespace of its own, so that nobody else is hit; that of netdp itself never is.
pub async fn end_rest(mounts: u64) {
    end_members(mounts, |_| true).await;
}

/// The same where nobody has held the namespace, and the number may be another's by now: only those are ended who have the files
/// of the process with this id mounted.
pub async fn end_rest_of(mounts: u64, id: &Id) {
    let files = format!("/processes/{id}/");
    let has_files =
        |pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|table| table.contains(&files));
    end_members(mounts, has_files).await;
}

async fn end_members(mounts: u64, is_meant: impl Fn(u32) -> bool) {
    if mounts_of(std::process::id()).is_none_or(|own| own == mounts) {
        return;
    }
    for _ in 0..ROUNDS {
        let left = members(mounts, &is_meant);
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

fn members(mounts: u64, is_meant: &impl Fn(u32) -> bool) -> Vec<Task> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| number(&entry.ok()?.path()));
    let members = numbers.filter(|pid| mounts_of(*pid) == Some(mounts) && is_meant(*pid));
    members.filter_map(Task::of).filter(Task::lives).collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}
