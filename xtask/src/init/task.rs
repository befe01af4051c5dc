//! One task: a cgroup with a limit, its output, and how it ended.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use protocol::{Done, Outcome, Task};

use crate::cgroup::{self, Cgroup};
use crate::work::guest_command;

/// What is kept of the output of a task that failed.
const TAIL: usize = 6000;
/// What `tests::process::measured` writes before each of its lines.
const MEASURED: &str = "measured: ";
/// How long the output may stay open after the end: a child that outlives its test and holds it is left behind.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a process may take to end when it is killed: one that the kernel does not let go never does.
const DYING: Duration = Duration::from_secs(5);

/// What a task printed so far, whether or not its output has ended.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

/// Runs a task to its end, or to its limit.
pub(crate) fn run(task: &Task) -> Done {
    run_below(task, Path::new(cgroup::ROOT))
}

/// The same with its cgroup below this folder.
fn run_below(task: &Task, cgroups: &Path) -> Done {
    let begin = Instant::now();
    let (outcome, output) = attempt(task, cgroups);
    let failed = outcome != Outcome::Passed;
    Done {
        tier: task.tier.clone(),
        name: task.name.clone(),
        outcome,
        milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        measured: measured(&output),
        tail: if failed { tail(&output).to_owned() } else { String::new() },
    }
}

fn attempt(task: &Task, cgroups: &Path) -> (Outcome, String) {
    // One pipe for both, so that lines stand in the order in which they were written.
    let Ok((reader, writer)) = std::io::pipe() else {
        return (Outcome::NotStarted("no pipe".to_owned()), String::new());
    };
    let Ok(second) = writer.try_clone() else {
        return (Outcome::NotStarted("no second end of a pipe".to_owned()), String::new());
    };
    let cgroup = Cgroup::below(cgroups);
    let mut command = guest_command(&task.command);
    command.envs(&task.environment).stdin(Stdio::null()).stdout(writer).stderr(second).process_group(0);
    let started = command.spawn();
    // Our ends of the pipe go with it: the reader sees the end only when nobody can write any more.
    drop(command);
    match started {
        Ok(mut child) => {
            if let Some(cgroup) = &cgroup {
                cgroup.add(child.id());
            }
            let output = Output::collect(reader);
            let status = wait(&mut child, Duration::from_secs(task.limit));
            // What the test left running goes before its output is waited for, and before the next test.
            drop(cgroup);
            let output = output.finish();
            (judge(task, status, &output), output)
        }
        Err(error) => (Outcome::NotStarted(error.to_string()), String::new()),
    }
}

/// How it ended; `None` when it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let status = wait_until(child, Instant::now() + limit);
    kill_group(child);
    if status.is_none() {
        wait_until(child, Instant::now() + DYING);
    }
    status
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The test itself, and what did not leave its group: a kernel without cgroups has no better way.
fn kill_group(child: &Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

fn judge(task: &Task, status: Option<ExitStatus>, output: &str) -> Outcome {
    let Some(status) = status else {
        return Outcome::Hung;
    };
    if !status.success() {
        return Outcome::Failed(status.to_string());
    }
    match &task.says {
        Some(words) if !output.contains(words.as_str()) => {
            Outcome::Failed(format!("it succeeded without saying {words:?}"))
        }
        Some(_) | None => Outcome::Passed,
    }
}

impl Output {
    fn collect(mut pipe: impl Read + Send + 'static) -> Self {
        let (send, ended) = channel();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut some) {
                let Ok(mut all) = all.lock() else { return };
                all.extend_from_slice(&some[..count]);
            }
            let _ = send.send(());
        });
        Self { bytes, ended }
    }

    /// All of it when it ends in time, else what there is.
    fn finish(self) -> String {
        let _ = self.ended.recv_timeout(PATIENCE);
        let bytes = self.bytes.lock().map(|bytes| bytes.clone()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn measured(output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| line.trim_start().strip_prefix(MEASURED));
    lines.map(str::to_owned).collect()
}

/// The last characters, from the beginning of a line when there is one.
fn tail(output: &str) -> &str {
    let Some(mut start) = output.len().checked_sub(TAIL) else {
        return output;
    };
    while !output.is_char_boundary(start) {
        start += 1;
    }
    let end = &output[start..];
    end.split_once('\n').map_or(end, |(_, lines)| lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This machine's cgroups are not ours.
    fn run(task: &Task) -> Done {
        run_below(task, Path::new("/nonexistent"))
    }

    fn task(line: &str) -> Task {
        Task {
            tier: "t".into(),
            name: "n".into(),
            command: vec!["sh".into(), "-c".into(), line.into()],
            environment: [("WORD".to_owned(), "hello".to_owned())].into(),
            says: None,
            limit: 20,
            alone: false,
        }
    }

    #[test]
    fn exit_status_decides() {
        assert_eq!(run(&task("exit 0")).outcome, Outcome::Passed);
        assert_eq!(run(&task("exit 3")).outcome, Outcome::Failed("exit status: 3".into()));
        assert!(
            matches!(run(&task("kill -9 $$")).outcome, Outcome::Failed(why) if why.contains("signal: 9"))
        );
    }

    #[test]
    fn both_outputs_and_the_environment_are_in_the_tail_of_a_failure() {
        let done = run(&task("echo $WORD; echo there >&2; exit 1"));
        assert_eq!(done.tail, "hello\nthere\n");
        assert_eq!(run(&task("echo $WORD")).tail, "");
    }

    #[test]
    fn success_without_the_words_is_a_failure() {
        let mut task = task("echo 'test result: ok. 0 passed'");
        task.says = Some("ok. 1 passed".into());
        assert!(matches!(run(&task).outcome, Outcome::Failed(why) if why.contains("1 passed")));
        task.says = Some("ok. 0 passed".into());
        assert_eq!(run(&task).outcome, Outcome::Passed);
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let mut task = task("sleep 600 & echo $!; wait");
        task.limit = 1;
        let done = run(&task);
        assert_eq!(done.outcome, Outcome::Hung);
        let child = done.tail.trim();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let is_gone = || state().is_empty() || state().contains(") Z");
        // It closes its output before it has ended.
        let until = Instant::now() + Duration::from_secs(5);
        while !is_gone() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(is_gone(), "{}", state());
    }

    #[test]
    fn output_of_one_that_hangs_is_kept_when_a_child_holds_it_open() {
        let mut task = task("echo before; setsid sleep 8 & wait");
        task.limit = 1;
        let done = run(&task);
        assert_eq!((done.outcome, done.tail.as_str()), (Outcome::Hung, "before\n"));
    }

    #[test]
    fn what_is_not_there_is_not_started() {
        let mut task = task("");
        task.command = vec!["/no/such/program".into()];
        assert!(matches!(run(&task).outcome, Outcome::NotStarted(_)));
    }

    #[test]
    fn measured_lines_are_kept_of_one_that_passes() {
        let done = run(&task("echo '    measured: verified 6.1 x 5' >&2; echo other"));
        assert_eq!(done.measured, ["verified 6.1 x 5"]);
    }

    #[test]
    fn tail_begins_with_a_line_and_within_a_character_never() {
        assert_eq!(tail("short"), "short");
        let long = "ä".repeat(TAIL) + "\nlast line\n";
        assert_eq!(tail(&long), "last line\n");
        assert!(tail(&"ä".repeat(TAIL)).len() <= TAIL);
    }
}
