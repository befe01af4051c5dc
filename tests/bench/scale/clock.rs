//! How long a command takes, from before its start until it is gone.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whoever takes longer is killed.
const DEADLINE: Duration = Duration::from_mins(2);

/// Milliseconds of a command that must succeed. The end of what it says tells that it is gone: to look again and again whether it
/// is would cost more than it takes.
pub(super) fn milliseconds(mut command: Command) -> f64 {
    let line = format!("{command:?}");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let errors = theirs.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(errors));
    // Of its own: an interrupt is not for it.
    command.process_group(0);
    let begin = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
    // It holds the other end too.
    drop(command);
    let mut said = String::new();
    let heard = ours.read_to_string(&mut said);
    if heard.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let took = begin.elapsed();
    assert!(heard.is_ok(), "not within {DEADLINE:?}: {line}");
    assert!(status.success(), "{line}: {status}, stderr: {said}");
    took.as_secs_f64() * 1000.0
}
