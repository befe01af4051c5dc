//! Waits for a process's end: passes signals on, keeps its log short, and then releases what it had.

use std::io::IsTerminal;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::select;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::ending;
use crate::Error;
use crate::instance::Place;
use crate::process::launch::Started;
use crate::process::{self, Processes, Record, log, namespace};

/// How often a log is looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The signals that are passed on to the process.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
    /// A terminal sends its signals to the process as well, which is in the same group: twice would be once too often.
    terminal: bool,
}

impl Signals {
    /// From now on none of them ends this netdp.
    pub(super) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("wait for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The next one that is to be passed on.
    async fn next(&mut self) -> Signal {
        loop {
            let signal = select! {
                _ = self.terminate.recv() => Signal::SIGTERM,
                _ = self.interrupt.recv() => Signal::SIGINT,
                _ = self.hangup.recv() => Signal::SIGHUP,
                _ = self.quit.recv() => Signal::SIGQUIT,
                _ = self.user1.recv() => Signal::SIGUSR1,
                _ = self.user2.recv() => Signal::SIGUSR2,
            };
            if !(self.terminal && matches!(signal, Signal::SIGINT | Signal::SIGQUIT)) {
                return signal;
            }
        }
    }
}

/// The exit code of the process, once it has ended and nothing is left of it.
pub(super) async fn to_the_end(
    place: &Place,
    mut started: Started,
    record: Record,
    mut signals: Signals,
) -> Result<u8, Error> {
    let log = record.detached.then(|| Processes::of(place).log(&record.id));
    let mut look = interval(LOG_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = loop {
        select! {
            status = started.child.wait() => break status.map_err(Error::io("wait for the process"))?,
            signal = signals.next() => pass_on(&record, signal),
            _ = look.tick(), if log.is_some() => {
                if let Some(Err(error)) = log.as_deref().map(log::rotate) {
                    tracing::warn!("cannot set the log aside: {error}");
                }
            }
        }
    };
    let code = process::exit_code(status);
    ending::finish(place, &record, code).await?;
    drop(started.held);
    Ok(code)
}

fn pass_on(record: &Record, signal: Signal) {
    if let Some(task) = &record.task {
        // It may have ended just now.
        let _ = namespace::send(task, signal);
    }
}
