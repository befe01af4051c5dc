//! A line for who waits at a terminal: how far something has come that takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is over sooner than this needs no line.
const SOON: Duration = Duration::from_millis(500);

/// On stderr, gone when this is dropped. Nothing is shown where that is no terminal, or to who asked for quiet.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    begin: Instant,
    shown: bool,
    wanted: bool,
}

impl Progress {
    /// Of something that has so many parts.
    pub fn new(what: &'static str, total: usize) -> Self {
        let wanted = io::stderr().is_terminal() && tracing::enabled!(tracing::Level::WARN);
        Self { what, total, done: 0, begin: Instant::now(), shown: false, wanted }
    }

    /// So many more parts are done.
    pub fn add(&mut self, parts: usize) {
        self.done += parts;
        if self.wanted && self.begin.elapsed() > SOON {
            self.shown = true;
            write(format_args!("\r{}: {} of {}", self.what, self.done, self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            write(format_args!("\r\x1b[K"));
        }
    }
}

fn write(text: std::fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    // Nobody can be told when even that fails.
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}
