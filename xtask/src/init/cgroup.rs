//! A cgroup for each task: what a task started is in it, whatever process group it put itself into.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where the guest's cgroups are.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// How long what was killed may take to be gone.
const GONE: Duration = Duration::from_secs(2);

/// One cgroup; all in it is killed when it goes.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one below the root; none where the kernel has no cgroups of version 2.
    pub(crate) fn below(root: &Path) -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let folder = root.join(format!("task-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&folder).ok()?;
        Some(Self(folder))
    }

    /// Takes in a process, which may have ended already.
    pub(crate) fn add(&self, pid: u32) {
        let _ = fs::write(self.0.join("cgroup.procs"), pid.to_string());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = Instant::now() + GONE;
        // It is busy until the last process is gone; one that cannot be killed keeps it.
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_takes_a_process() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (Cgroup::below(root.path()).unwrap(), Cgroup::below(root.path()).unwrap());
        assert_ne!(one.0, other.0);
        one.add(71);
        assert_eq!(fs::read_to_string(one.0.join("cgroup.procs")).unwrap(), "71");
        drop(other);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn without_cgroups_there_is_none() {
        assert!(Cgroup::below(Path::new("/nonexistent")).is_none());
    }
}
