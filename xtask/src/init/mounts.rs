//! The file systems that a host has.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// What is mounted where: kind, place, options. In this order: each place is made when it is not there.
const MOUNTS: [(&str, &str, &str); 11] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "gid=5,mode=620"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", "mode=0700"),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Links that programs expect in /dev and that devtmpfs does not make.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts all of them. A kernel without one that is not needed for the reports goes on without.
pub(crate) fn all() -> Result<()> {
    for (kind, place, options) in MOUNTS {
        let mounted = one(kind, Path::new(place), options);
        if let Err(error) = mounted {
            eprintln!("vm-init: {error:#}");
        }
    }
    for (target, link) in LINKS {
        symlink(target, link).with_context(|| format!("cannot make {link}"))?;
    }
    Ok(())
}

fn one(kind: &str, place: &Path, options: &str) -> Result<()> {
    if !place.exists() {
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    mount(Some(kind), place, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} at {}", place.display()))
}
