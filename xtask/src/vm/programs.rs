//! Programs of this machine that the tests call in a guest, with their libraries and files.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Archive;
use crate::command;
use crate::lacking::Lacking;

/// Programs, and the Debian package that has them.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("bash", &["bash"]),
    ("bpftool", &["bpftool"]),
    (
        "coreutils",
        &[
            "cat",
            "chmod",
            "cp",
            "cut",
            "date",
            "dd",
            "echo",
            "env",
            "false",
            "head",
            "id",
            "ln",
            "ls",
            "mkdir",
            "mv",
            "printf",
            "readlink",
            "rm",
            "seq",
            "sha256sum",
            "sleep",
            "sort",
            "stat",
            "stty",
            "sync",
            "tail",
            "tee",
            "test",
            "timeout",
            "touch",
            "tr",
            "true",
            "truncate",
            "uname",
            "uniq",
            "wc",
        ],
    ),
    ("curl", &["curl"]),
    ("dash", &["sh"]),
    ("dnsmasq-base", &["dnsmasq"]),
    ("ethtool", &["ethtool"]),
    ("grep", &["grep"]),
    ("iperf3", &["iperf3"]),
    ("iproute2", &["bridge", "ip", "ss", "tc"]),
    ("iputils-ping", &["ping"]),
    ("kmod", &["lsmod", "modprobe"]),
    ("mawk", &["awk"]),
    ("mount", &["mount", "umount"]),
    ("netcat-openbsd", &["nc"]),
    ("nftables", &["nft"]),
    ("nginx-light", &["nginx"]),
    ("procps", &["kill", "pgrep", "pkill", "ps", "sysctl"]),
    ("sed", &["sed"]),
    ("tcpdump", &["tcpdump"]),
    ("util-linux", &["dmesg", "findmnt", "nsenter", "setpriv", "unshare"]),
    ("wireguard-tools", &["wg"]),
];

/// Files and folders that these programs read. Not every machine has each.
const FILES: [&str; 13] = [
    "/etc/group",
    "/etc/iproute2",
    "/etc/nginx",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/usr/lib/iproute2",
    "/usr/lib/nginx",
    "/usr/lib/tc",
    "/usr/share/iproute2",
    "/usr/share/nginx",
    "/usr/share/zoneinfo/UTC",
];

/// Folders that these programs write to.
const FOLDERS: [&str; 3] = ["/var/lib/nginx", "/var/log/nginx", "/var/tmp"];

/// glibc opens it by itself when a thread is cancelled, so no list of libraries names it.
const HIDDEN_LIBRARY: &str = "libgcc_s.so.1";

/// Adds all programs, and the files that they need.
pub(crate) fn add(archive: &mut Archive<BufWriter<File>>) -> Result<()> {
    let mut found = Vec::new();
    for (package, names) in PROGRAMS {
        for name in *names {
            found.push(find(name).ok_or_else(|| lacking(name, package))?);
        }
    }
    for program in &found {
        archive.add_file(program, program)?;
    }
    add_libraries(archive, &found)?;
    for path in FILES.iter().map(Path::new).filter(|path| path.exists()) {
        if path.is_dir() { archive.add_tree(path, path)? } else { archive.add_file(path, path)? }
    }
    FOLDERS.iter().try_for_each(|folder| archive.add_folder(Path::new(folder)))
}

/// Adds the libraries of programs, at the places where their loader looks for them.
pub(crate) fn add_libraries(archive: &mut Archive<BufWriter<File>>, programs: &[PathBuf]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        libraries.extend(libraries_of(program)?);
    }
    let beside = libraries.iter().find(|library| library.ends_with("libc.so.6"));
    let hidden = beside.map(|libc| libc.with_file_name(HIDDEN_LIBRARY));
    for library in libraries.iter().chain(hidden.iter().filter(|hidden| hidden.exists())) {
        archive.add_file(library, library)?;
    }
    Ok(())
}

fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    // ldd fails for what is linked statically, and for scripts: they have none.
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths that ldd names: of libraries, and of the loader itself.
fn paths(ldd: &str) -> BTreeSet<PathBuf> {
    let word = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(word).collect()
}

/// Where a program is; those of administrators are not in everybody's PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    // A folder of the user's own may have wrappers that mean nothing in a guest.
    let system = folders.filter(|folder| ["/usr", "/bin", "/sbin"].iter().any(|top| folder.starts_with(top)));
    system.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The error for a program that is not there.
pub(crate) fn lacking(program: &str, package: &str) -> anyhow::Error {
    Lacking(format!(
        "the program {program} is missing, which the VMs need (Debian package {package}).\n\
         run: cargo xtask setup"
    ))
    .into()
}

/// The SHA-256 of a file, as `sha256sum` prints it.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let printed = command::output(Command::new("sha256sum").arg(file))?;
    Ok(printed.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages;

    /// No Debian is without these.
    const ESSENTIAL: [&str; 5] = ["bash", "coreutils", "dash", "grep", "sed"];

    #[test]
    fn setup_installs_what_is_not_on_every_debian() {
        let installed = [packages::BUILD, packages::PEERS, packages::VM, &ESSENTIAL].concat();
        for (package, names) in PROGRAMS {
            assert!(installed.contains(package), "{names:?} of {package}");
        }
    }

    #[test]
    fn libraries_and_loader_are_found_and_the_kernels_own_is_none() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\
            \tlibgone.so => not found\n";
        let found: Vec<PathBuf> = paths(ldd).into_iter().collect();
        assert_eq!(
            found,
            [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]
        );
        assert!(paths("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn shell_is_found_and_a_missing_program_is_named_with_its_package() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program"), None);
        let text = lacking("qemu-system-x86_64", "qemu-system-x86").to_string();
        assert!(text.contains("qemu-system-x86_64") && text.contains("package qemu-system-x86"), "{text}");
    }
}
