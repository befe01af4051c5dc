//! Which processor does what: who measures beside a flood measures the datapath, and not who gets the processor.

use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// The numbers of the processors that the calling thread may use.
pub fn allowed() -> Vec<usize> {
    let may = sched_getaffinity(SELF).unwrap();
    (0..CpuSet::count()).filter(|at| may.is_set(*at).unwrap()).collect()
}

/// Runs a job, and every thread and process that it starts, on one processor: the one with this number among those that
/// there are, counted round.
pub fn on_processor<R: Send>(number: usize, job: impl FnOnce() -> R + Send) -> R {
    let there = || {
        let all = allowed();
        let mut only = CpuSet::new();
        only.set(all[number % all.len()]).unwrap();
        sched_setaffinity(SELF, &only).unwrap();
        job()
    };
    match thread::scope(|scope| scope.spawn(there).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
