//! Commands that end by a deadline, and services that are killed on drop.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// How long [`run`] waits before it kills the command and fails, on a machine of usual speed ([`patient`]).
pub const DEADLINE: Duration = Duration::from_mins(1);

/// How many times slower this machine is than a usual one: `NETDP_TEST_SLOW`, which is set where the processor is
/// emulated.
pub fn slowness() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| match env::var("NETDP_TEST_SLOW") {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("NETDP_TEST_SLOW is {text:?}: {e}")),
        Err(_) => 1,
    })
}

/// A time that was chosen on a machine of usual speed, as long as this one needs it.
pub fn patient(time: Duration) -> Duration {
    time * slowness()
}

/// What a finished command left behind.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command as a person would type it.
    pub line: String,
    /// Exit status; `None` when a signal or the deadline ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Ran {
    /// Fails the test unless the command succeeded.
    #[must_use = "use `done` when the output does not matter"]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Fails the test unless the command succeeded; for those run for their effect.
    pub fn done(self) {
        let _ = self.ok();
    }

    /// For a command whose failure was what the test wanted, and nothing more is asked of it.
    pub fn done_failing(self) {
        assert_ne!(self.code, Some(0), "it should have failed\n{self}");
    }

    /// Fails the test unless the command ended with this exit status.
    #[must_use = "use `done_failing` when nothing more is asked"]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "unexpected exit status\n{self}");
        self
    }

    /// Fails the test unless standard error holds this text.
    #[must_use = "use `done_failing` when nothing more is asked"]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "standard error lacks {text:?}\n{self}");
        self
    }

    /// Standard output as one JSON document, of a command that succeeded.
    pub fn json(self) -> Value {
        let ran = self.exits(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("not one JSON document: {e}\n{ran}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "$ {line}\nexit: {code:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// Runs a command to its end, but not longer than [`DEADLINE`].
pub fn run(command: &mut Command) -> Ran {
    run_within(command, DEADLINE)
}

/// Runs a command to its end; one that takes longer than the [`patient`] limit is killed with its children and has no
/// exit status.
pub fn run_within(command: &mut Command, limit: Duration) -> Ran {
    let line = typed(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run `{line}`: {e}"));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let code = wait_until(&mut child, Instant::now() + patient(limit));
    Ran { line, code, stdout: stdout.recv().unwrap_or_default(), stderr: stderr.recv().unwrap_or_default() }
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<i32> {
    let mut pause = Duration::from_micros(200);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    kill_group(child);
    None
}

/// Reads a pipe to its end on a thread, so that a full pipe never blocks the command.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn kill_group(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        // Already reaped: its number may belong to somebody else by now.
        return;
    }
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A process that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Service {
    line: String,
    child: Child,
    stdout: Option<Receiver<String>>,
    stderr: Option<Receiver<String>>,
}

impl Service {
    /// Starts it in a process group of its own, so that its children end with it.
    pub fn start(command: &mut Command) -> Self {
        let line = typed(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{line}`: {e}"));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { line, child, stdout, stderr }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Exit status when it has ended by itself.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().unwrap().map(|status| status.code())
    }

    /// kill -9, and wait for it.
    pub fn kill(mut self) -> Ran {
        self.finish()
    }

    /// The same for one that is part of something which is still needed.
    pub fn finish(&mut self) -> Ran {
        kill_group(&mut self.child);
        self.remains(None)
    }

    /// SIGTERM, and what it left; killed when it has not ended within the limit.
    pub fn terminate(mut self, limit: Duration) -> Ran {
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let code = wait_until(&mut self.child, Instant::now() + patient(limit));
        self.remains(code)
    }

    /// Waits for its own end; killed when that takes longer than the limit.
    pub fn wait(mut self, limit: Duration) -> Ran {
        let code = wait_until(&mut self.child, Instant::now() + patient(limit));
        self.remains(code)
    }

    fn remains(&mut self, code: Option<i32>) -> Ran {
        let text = |pipe: &mut Option<Receiver<String>>| pipe.take().and_then(|p| p.recv().ok());
        let stdout = text(&mut self.stdout).unwrap_or_default();
        let stderr = text(&mut self.stderr).unwrap_or_default();
        Ran { line: self.line.clone(), code, stdout, stderr }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// Prints a measurement that is to be seen although its test passes: libtest keeps back what the macros print.
pub fn measured(line: &str) {
    let _ = writeln!(io::stderr(), "    measured: {line}");
}

/// Waits until the condition holds, looking every 10 ms; fails the test with `what` when it does not within the
/// [`patient`] limit.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let limit = patient(limit);
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
