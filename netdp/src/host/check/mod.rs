//! What this machine offers and lacks, found out by trying and not from version numbers. Nothing of the
//! machine is changed: what has to be made to be tried is made in a throw-away network namespace.

mod bpf;
mod helpers;
mod kernel;
mod links;
mod privilege;

use std::fs;

use nix::unistd::{AccessFlags, access};

pub(crate) use kernel::hint as kernel_hint;
pub use kernel::{MINIMUM, Release};

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRow {
    /// What was looked at.
    pub name: String,
    /// It is there.
    pub ok: bool,
    /// netdp cannot work without it.
    pub required: bool,
    /// What was found; for what is missing: what is wrong and what to do.
    pub detail: String,
}

impl CheckRow {
    fn found(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, required: true, detail: detail.into() }
    }

    fn missing(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, required: true, detail: detail.into() }
    }

    fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    /// `Ok` holds what was found, `Err` what is wrong.
    fn of(name: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Self::found(name, detail),
            Err(detail) => Self::missing(name, detail),
        }
    }

    /// netdp cannot work on this machine, for this reason.
    pub fn is_fatal(&self) -> bool {
        self.required && !self.ok
    }
}

/// What this process may do: the part of the answer that costs nothing.
pub fn privileges() -> Vec<CheckRow> {
    privilege::rows()
}

/// Looks at everything. Must be called within a tokio runtime.
pub async fn run() -> Vec<CheckRow> {
    let mut rows = vec![kernel::row()];
    rows.extend(privilege::rows());
    rows.extend(helpers::rows());
    rows.extend([bpf::btf(), bpf::cgroup_links(), bpf::cookies()]);
    rows.push(file_system("bpf", "CONFIG_BPF_SYSCALL"));
    rows.push(file_system("cgroup2", "CONFIG_CGROUPS"));
    rows.push(sysctls());
    let links = links::rows().await;
    // Either way to attach a program is enough.
    let (tcx, clsact) = (bpf::tcx(), links.clsact);
    rows.push(CheckRow { required: !clsact.ok, ..tcx.clone() });
    rows.push(CheckRow { required: !tcx.ok, ..clsact });
    rows.extend(links.others);
    rows
}

fn file_system(kind: &str, option: &str) -> CheckRow {
    let name = format!("file system {kind}");
    let listed = fs::read_to_string("/proc/filesystems").map(|list| lists(&list, kind));
    CheckRow::of(
        name,
        match listed {
            Ok(true) => Ok("the kernel has it".to_owned()),
            Ok(false) => Err(format!("the kernel lacks it ({option})")),
            Err(error) => Err(format!("cannot read /proc/filesystems: {error}; mount /proc")),
        },
    )
}

fn lists(file_systems: &str, kind: &str) -> bool {
    file_systems.lines().any(|line| line.split_whitespace().next_back() == Some(kind))
}

fn sysctls() -> CheckRow {
    let writable = access("/proc/sys/net/ipv4/conf/lo/route_localnet", AccessFlags::W_OK);
    CheckRow::of(
        "sysctls",
        match writable {
            Ok(()) => Ok("/proc/sys/net is writable".to_owned()),
            Err(errno) => {
                Err(format!("/proc/sys/net is not writable: {}; remount it rw, as root", errno.desc()))
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_listed_by_its_whole_name() {
        let list = "nodev\tsysfs\nnodev\tcgroup2\n\text4\n";
        assert!(lists(list, "cgroup2") && lists(list, "ext4"));
        assert!(!lists(list, "cgroup") && !lists(list, "bpf"));
    }

    #[test]
    fn what_is_optional_is_never_fatal() {
        let missing = CheckRow::missing("x", "gone");
        assert!(missing.is_fatal());
        assert!(!missing.optional().is_fatal());
        assert!(!CheckRow::found("x", "there").is_fatal());
    }
}
