//! A process in the background: a netdp of its own waits for its end (as conmon does for Podman), so that whoever called can go.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::launch::SELF;

/// Names the descriptor at which a netdp in the background reports that its process runs.
pub const REPORT: &str = "NETDP_REPORT";

/// Runs the same command line in the background, and waits until its process runs: what it reported, or the exit code of one
/// that failed and has said why.
pub fn begin() -> io::Result<Result<String, u8>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = Command::new(SELF);
    command.args(std::env::args_os().skip(1)).env(REPORT, theirs.as_raw_fd().to_string());
    let mut child = command.spawn()?;
    drop(theirs);
    let mut report = String::new();
    ours.read_to_string(&mut report)?;
    if report.is_empty() {
        return Ok(Err(child.wait().map(super::exit_code)?));
    }
    Ok(Ok(report))
}

/// The way back to whoever called for a process in the background.
#[derive(Debug)]
pub struct Report(File);

impl Report {
    /// That of this netdp, if it is one in the background. It gets a session of its own, so that no terminal ends it.
    pub fn of_this() -> Option<Self> {
        let number: u32 = std::env::var(REPORT).ok()?.parse().ok()?;
        let path = format!("/proc/self/fd/{number}");
        // A socket cannot be opened by path: it is taken over by its number.
        std::fs::read_link(path).ok().filter(|target| target.to_string_lossy().starts_with("socket:"))?;
        let number = i32::try_from(number).ok()?;
        // SAFETY: it is open, as its link has shown, and was left open for this alone.
        let socket: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(number) };
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        // It fails for the leader of a group, which is no child of a netdp that has called for it.
        let _ = setsid();
        Some(Self(socket))
    }

    /// Reports, and lets go of all that belongs to the caller.
    pub fn send(mut self, text: &str) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        std::env::set_current_dir("/")?;
        self.0.write_all(text.as_bytes())
    }
}
