//! The instance's own BPF file system, which holds the pins. Not `/sys/fs/bpf`: that may belong to someone
//! else, and several instances share a machine.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Mounts that lie over one another are taken off one by one, but not for ever.
const MAX_LAYERS: usize = 16;

/// The file system of the pins cannot be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mount point cannot be made or removed.
    #[error(
        "cannot {operation} directory {path}: {cause}; choose a run directory that you may write to (--run-dir)"
    )]
    Directory {
        /// `create` or `remove`.
        operation: &'static str,
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The mount itself.
    #[error("cannot {operation} the BPF file system at {path}: {}; {}", cause.desc(), remedy(*cause))]
    Mount {
        /// `mount` or `unmount`.
        operation: &'static str,
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        cause: Errno,
    },
}

impl Error {
    /// The caller lacks a privilege.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Directory { cause, .. } => cause.kind() == io::ErrorKind::PermissionDenied,
            Self::Mount { cause, .. } => matches!(cause, Errno::EPERM | Errno::EACCES),
        }
    }
}

fn remedy(cause: Errno) -> &'static str {
    match cause {
        Errno::EPERM | Errno::EACCES => "run netdp as root, or with CAP_SYS_ADMIN and CAP_BPF",
        Errno::ENODEV => "this kernel lacks it (CONFIG_BPF_SYSCALL)",
        Errno::EBUSY => "a process still has a file open in it",
        _ => "see the kernel's log (dmesg)",
    }
}

/// Where it is mounted.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("bpf")
}

/// Tells whether a BPF file system is mounted at `path`.
pub fn is_mounted(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts it unless it is mounted, for root's eyes only, and returns where.
pub fn ensure(run_dir: &Path) -> Result<PathBuf, Error> {
    let path = path(run_dir);
    if is_mounted(&path) {
        return Ok(path);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|cause| Error::Directory {
        operation: "create",
        path: path.clone(),
        cause,
    })?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("netdp"), &path, Some("bpf"), flags, Some("mode=0700")).map_err(|cause| Error::Mount {
        operation: "mount",
        path: path.clone(),
        cause,
    })?;
    Ok(path)
}

/// Unmounts it, with all pins in it, and removes the mount point. One that is not there is no error.
pub fn remove(run_dir: &Path) -> Result<(), Error> {
    let path = path(run_dir);
    for _ in 0..MAX_LAYERS {
        if !is_mounted(&path) {
            break;
        }
        unmount(&path)?;
    }
    match fs::remove_dir(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::Directory { operation: "remove", path, cause })
        }
        _ => Ok(()),
    }
}

fn unmount(path: &Path) -> Result<(), Error> {
    let result = match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        // Somebody looks at the pins. They vanish from the tree now, and for good when that one has done.
        Err(Errno::EBUSY) => umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
        result => result,
    };
    result.map_err(|cause| Error::Mount { operation: "unmount", path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_directory_is_not_mounted_and_may_be_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(path(dir.path())).expect("a mount point");
        assert!(!is_mounted(&path(dir.path())));
        remove(dir.path()).expect("removed");
        remove(dir.path()).expect("removed once more");
        assert!(!path(dir.path()).exists());
    }
}
