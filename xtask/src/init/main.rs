//! Process 1 of a guest of `cargo xtask vm`: does its job, reports, and powers off.
//!
//! Process 1 itself only reaps, so that no child's status is taken from the one who waits for it: the work is done by
//! a second process of the same program.

mod cgroup;
mod mounts;
mod task;
mod work;

use std::env;
use std::process::{self, Command, ExitCode};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};

use protocol::Report;

/// The argument that tells the second process from the first.
const WORK: &str = "work";

fn main() -> ExitCode {
    match (process::id(), env::args().nth(1).as_deref()) {
        (1, _) => first(),
        (_, Some(WORK)) => end(work::run()),
        _ => {
            eprintln!(
                "error: vm-init is process 1 of the guests of `cargo xtask vm` and does nothing elsewhere"
            );
            ExitCode::FAILURE
        }
    }
}

/// What process 1 does: mounts, the worker, and the end.
fn first() -> ExitCode {
    if let Err(error) = mounts::all().and_then(|()| reap_until_the_worker_ends()) {
        work::report(&Report::Broken { reason: format!("{error:#}") });
    }
    nix::unistd::sync();
    // What was reported here is sent before the power goes.
    work::drain();
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(errno) => {
            eprintln!("cannot power off: {errno}");
            ExitCode::FAILURE
        }
    }
}

fn reap_until_the_worker_ends() -> Result<()> {
    let worker = Command::new("/init").arg(WORK).spawn().context("cannot start the worker")?;
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, 0)) if pid.as_raw().unsigned_abs() == worker.id() => return Ok(()),
            Ok(WaitStatus::Exited(pid, work::END_INIT)) if pid.as_raw().unsigned_abs() == worker.id() => {
                process::exit(work::END_INIT)
            }
            Ok(status) if status.pid().is_some_and(|pid| pid.as_raw().unsigned_abs() == worker.id()) => {
                anyhow::bail!("the worker ended early: {status:?}")
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the worker"),
        }
    }
}

fn end(result: Result<()>) -> ExitCode {
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            work::report(&Report::Broken { reason: format!("{error:#}") });
            ExitCode::FAILURE
        }
    };
    // While this process still says that it is well, each report sets a port going again that has stopped sending; one
    // that is closed throws away after 30 s what it has not sent (closing_wait, drivers/tty/tty_port.c).
    work::drain();
    code
}
