//! Debian packages: which are missing, and how they get in without starting anything on the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::lacking::Lacking;

/// What `bpf-linker` is built from and linked with, and the tools that check and strip the object.
pub(crate) const BUILD: &[&str] =
    &["gcc", "libpolly-22-dev", "libzstd-dev", "llvm-22", "llvm-22-dev", "zlib1g-dev"];
/// The second way to build for the BPF target.
pub(crate) const BPF_TOOLCHAIN: &[&str] = &["cargo-web", "rust-web-src", "rustc-web"];
/// libFuzzer is C++, and comes as source with its crate.
pub(crate) const FUZZ: &[&str] = &["g++"];
/// The independent peers that the tests and the demo hold netdp against.
pub(crate) const PEERS: &[&str] = &[
    "bpftool",
    "curl",
    "dnsmasq-base",
    "ethtool",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "nftables",
    "nginx-light",
    "python3-scapy",
    "tcpdump",
];

/// What boots other kernels with the tests inside, takes Debian's kernel packages apart, and what only tests in there
/// call.
pub(crate) const VM: &[&str] = &[
    "kmod",
    "mawk",
    "mount",
    "procps",
    "qemu-system-x86",
    "util-linux",
    "wireguard-tools",
    "xz-utils",
    "zstd",
];

/// What the bench holds netdp against beside the kernel, what its containers run, what asks the web server, and the font of its
/// pictures. The web server is one of the peers.
pub(crate) const BENCH: &[&str] = &["busybox-static", "fonts-dejavu-core", "iptables", "wrk"];
/// Debian's Docker, for a machine that has no other.
pub(crate) const DOCKER: &str = "docker.io";
/// Its client, where it is a package of its own (since Debian 13).
pub(crate) const DOCKER_CLIENT: &str = "docker-cli";

const APT: &str = "/usr/bin/apt-get";

/// Those of `wanted` that are not installed.
pub(crate) fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query exits 1 when it knows nothing of one of them: its output is the answer all the same.
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"])
        .args(wanted)
        .output();
    let Ok(query) = query else {
        return Err(lacking_apt(wanted));
    };
    let listed = String::from_utf8_lossy(&query.stdout);
    let installed: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted.iter().copied().filter(|package| !installed.contains(package)).collect())
}

/// Installs packages; an error that holds the exact command when that is not possible here.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if !Path::new(APT).exists() {
        return Err(lacking_apt(packages));
    }
    if !is_root()? {
        return Err(Lacking(format!(
            "these packages are missing and only root may install them: {list}\n\
             run: sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}",
            list = packages.join(" ")
        ))
        .into());
    }
    println!("setup: installing {}", packages.join(" "));
    let _quiet = NoServices::begin()?;
    let install = || command::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages));
    update().and_then(|()| install()).map_err(|error| not_installed(packages, &error))?;
    packages.iter().try_for_each(|package| keep_from_booting(package))
}

/// What the tests and the bench start, they start in namespaces of their own; the next boot must not start it either.
fn keep_from_booting(package: &str) -> Result<()> {
    let (service, units): (&str, &[&str]) = match package {
        "nginx-light" => ("nginx", &[]),
        DOCKER => ("docker", &["docker.service", "docker.socket", "containerd.service"]),
        _ => return Ok(()),
    };
    command::run(Command::new("update-rc.d").args([service, "disable"]))?;
    if !units.is_empty() && Path::new("/usr/bin/systemctl").exists() {
        command::run(Command::new("systemctl").arg("disable").args(units))?;
    }
    Ok(())
}

/// Gets the lists of packages anew, which only root may do.
pub(crate) fn update() -> Result<()> {
    command::run(apt().arg("update"))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn not_installed(packages: &[&str], error: &anyhow::Error) -> anyhow::Error {
    Lacking(format!(
        "these packages are missing and apt could not install them: {list}\n\
         {error:#}\n\
         Where there is a network, run: \
         apt-get update && apt-get install -y --no-install-recommends {list}",
        list = packages.join(" ")
    ))
    .into()
}

fn lacking_apt(packages: &[&str]) -> anyhow::Error {
    Lacking(format!(
        "setup installs through apt, which this machine does not have.\n\
         Install what these Debian packages hold by other means: {}",
        packages.join(" ")
    ))
    .into()
}

/// Whether we run as root, by the owner of our own process.
pub(crate) fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0)
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-netdp-setup";
/// invoke-rc.d asks this script, and 101 means "you may not".
const DENY: &str =
    "#!/bin/sh\n# netdp-setup: packages must not start services while it installs them.\nexit 101\n";

/// While it lives, no package that is being installed may start a service.
struct NoServices;

impl NoServices {
    fn begin() -> Result<Self> {
        restore_policy()?;
        if Path::new(POLICY).exists() {
            fs::rename(POLICY, POLICY_ASIDE).with_context(|| format!("cannot move {POLICY} aside"))?;
        }
        fs::write(POLICY, DENY).with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Err(error) = restore_policy() {
            eprintln!("warning: {error:#}; remove {POLICY} by hand");
        }
    }
}

/// Puts the host's own policy back; also after a setup that was killed half-way.
pub(crate) fn restore_policy() -> Result<()> {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == DENY) {
        fs::remove_file(POLICY).with_context(|| format!("cannot remove {POLICY}"))?;
    }
    if Path::new(POLICY_ASIDE).exists() {
        fs::rename(POLICY_ASIDE, POLICY).with_context(|| format!("cannot put {POLICY} back"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_could_not_install_is_named_with_what_it_said() {
        let error = not_installed(&["qemu-system-x86", "zstd"], &anyhow::anyhow!("exit status: 100"));
        assert!(error.is::<Lacking>());
        let text = error.to_string();
        assert!(text.contains("apt could not install them: qemu-system-x86 zstd\n"), "{text}");
        assert!(text.contains("exit status: 100"), "{text}");
    }
}
