//! How busy the processors are, all of them together.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

/// Of a second.
const MICROSECONDS: u64 = 1_000_000;

/// What was used of them between two moments.
pub(crate) struct Busy {
    /// Added up over all processors.
    pub(crate) time: Duration,
    /// Of all that there was.
    pub(crate) share: f64,
}

/// What all processors have done until a moment.
pub(crate) struct Moment {
    at: Instant,
    number: u32,
    /// Time of all of them in which nothing of this machine ran: idle, waiting for a disk, or taken by another machine.
    unused: Duration,
}

impl Moment {
    pub(crate) fn now() -> io::Result<Self> {
        let table = fs::read_to_string("/proc/stat")?;
        let at = Instant::now();
        let mut lines = table.lines();
        let total = lines.next().unwrap_or_default();
        let number = lines.take_while(|line| line.starts_with("cpu")).count();
        let ticks: Vec<u64> =
            total.split_whitespace().skip(1).map_while(|number| number.parse().ok()).collect();
        let [_, _, _, idle, waiting, _, _, stolen, ..] = ticks[..] else {
            return Err(io::Error::other("/proc/stat is not as it was expected"));
        };
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let tick = MICROSECONDS / per_second.unwrap_or(100).max(1);
        let unused = Duration::from_micros((idle + waiting + stolen) * tick);
        Ok(Self { at, number: u32::try_from(number).unwrap_or(1), unused })
    }

    /// User, system, interrupts and softirqs, which together are what is not unused: the kernel knows when it is idle, and
    /// takes samples of the rest.
    pub(crate) fn busy_since(&self) -> io::Result<Busy> {
        let now = Self::now()?;
        let all = (now.at - self.at) * self.number;
        let time = all.saturating_sub(now.unused.saturating_sub(self.unused));
        Ok(Busy { time, share: time.div_duration_f64(all) })
    }
}
