//! The demo's stage: namespaces that nothing outside can see, and that vanish with one process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::lacking::Lacking;

/// What PID 1 of the stage does before it waits: folders of its own for namespaces, run-time files and the
/// database, so that the commands shown need no options and the machine's own folders stay as they are.
const OPEN: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib \
    && mkdir /run/netns /run/bin /var/lib/nginx && echo open";
/// A command that hangs ends the demo.
const LIMIT_SECONDS: &str = "20";
const PATH: &str = "/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A mount, a network and a PID namespace, in which the network namespaces of the demo are named.
///
/// When PID 1 of the latter ends, the kernel kills all processes of the stage, and with the last of them go the
/// mounts, the network namespaces, the programs and the maps: also when the demo itself is killed.
pub(crate) struct Stage {
    holder: Child,
    keep: bool,
}

impl Stage {
    /// Opens a stage whose PID 1 lives as long as we do, or with `keep` until somebody kills it.
    pub(crate) fn open(netdp: &Path, keep: bool) -> Result<Self> {
        // `cat` ends when our end of its stdin does, by whatever way we end.
        let wait = if keep { "exec sleep infinity >/dev/null" } else { "exec cat" };
        // A stage that outlives us must not hold a pipe that somebody reads our output from.
        let stderr = if keep { Stdio::null() } else { Stdio::inherit() };
        let holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", &format!("{OPEN} && {wait}")])
            .current_dir("/")
            // Ctrl-C in the terminal is for us alone.
            .process_group(0)
            .stdin(if keep { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("cannot start unshare (Debian package util-linux)")?;
        let mut stage = Self { holder, keep: false };
        stage.wait_until_open()?;
        stage.keep = keep;
        fs::copy(netdp, stage.file("run/bin/netdp"))
            .with_context(|| format!("cannot copy {}", netdp.display()))?;
        Ok(stage)
    }

    fn wait_until_open(&mut self) -> Result<()> {
        let stdout = self.holder.stdout.take().context("the stage has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "open\n" {
            return Err(Lacking(
                "root may not make namespaces and mounts here.\n\
                 run the demo on a machine, or in a container that was started with --privileged"
                    .into(),
            )
            .into());
        }
        Ok(())
    }

    /// A file of the stage, as seen from outside of it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{path}", self.holder.id()))
    }

    /// Runs a shell line in a network namespace after printing it as a person there would see it, then prints
    /// its output and returns it; an error when it fails.
    pub(crate) fn show(&self, place: &str, line: &str) -> Result<String> {
        println!("{place:>9} $ {line}");
        let output = self.run(place, line)?;
        for line in output.lines() {
            println!("            {line}");
        }
        Ok(output)
    }

    /// Runs a shell line in a network namespace and returns what it prints; an error when it fails.
    pub(crate) fn run(&self, place: &str, line: &str) -> Result<String> {
        let output = self.enter(place).args(["timeout", LIMIT_SECONDS, "sh", "-c", line]).output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` in {place} failed ({}): {}{}", output.status, stdout, stderr.trim());
        }
        Ok(stdout)
    }

    fn enter(&self, place: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entrance(place)).current_dir("/").env("PATH", PATH).stdin(Stdio::null());
        command
    }

    fn entrance(&self, place: &str) -> [String; 5] {
        let pid = self.holder.id();
        [
            format!("--mount=/proc/{pid}/ns/mnt"),
            // Entering a mount namespace leads to its own root, out of the folder that we may be confined to.
            format!("--root=/proc/{pid}/root"),
            // The holder itself is outside of the PID namespace that it made.
            format!("--pid=/proc/{pid}/ns/pid_for_children"),
            // `stage` is where the others are made from: empty, and not the machine's own.
            match place {
                "stage" => format!("--net=/proc/{pid}/ns/net"),
                named => format!("--net=/proc/{pid}/root/run/netns/{named}"),
            },
            "--wdns=/".to_owned(),
        ]
    }

    /// How a person looks inside a stage that is kept, and how it goes away.
    pub(crate) fn print_how_to_look_inside(&self) {
        println!("The stage is left standing. To look inside the host (or web, client, outside):");
        println!("  nsenter {} env PATH={PATH} netdp status", self.entrance("host").join(" "));
        println!("To take it away:\n  kill -9 {}", self.holder.id());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // unshare's child dies with it (--kill-child), and all else with that child.
        let ended = self.holder.kill().and_then(|()| self.holder.wait());
        if let Err(error) = ended {
            eprintln!("warning: the stage could not be ended: {error}; kill -9 {}", self.holder.id());
        }
    }
}
