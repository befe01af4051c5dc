//! How much of it, and how often.

use crate::measure::Length;
use crate::options::Options;

/// The sizes of each sweep, smallest first, and how often each is measured.
pub(super) struct Effort {
    pub(super) ports: &'static [u32],
    pub(super) containers: &'static [u32],
    pub(super) flows: &'static [u32],
    pub(super) networks: &'static [u32],
    /// Of the traffic.
    pub(super) rounds: u32,
    pub(super) length: Length,
    /// Commands whose times are compared, each so often.
    pub(super) commands: u32,
    /// Attaches with a range of ports.
    pub(super) ranges: u32,
    /// The whole host, brought up and taken down so often.
    pub(super) restarts: u32,
}

impl Effort {
    pub(super) fn of(options: &Options) -> Self {
        let mut effort = if options.quick { Self::quick() } else { Self::whole() };
        if let Some(rounds) = options.rounds {
            effort.rounds = u32::from(rounds);
        }
        effort
    }

    fn quick() -> Self {
        Self {
            ports: &[1, 10_000],
            containers: &[2, 100],
            flows: &[1, 100_000],
            networks: &[1, 20],
            rounds: 7,
            length: Length::brief(),
            commands: 20,
            ranges: 3,
            restarts: 2,
        }
    }

    fn whole() -> Self {
        Self {
            ports: &[1, 100, 1000, 10_000],
            containers: &[2, 100, 1000],
            flows: &[1, 1000, 100_000, 1_000_000],
            networks: &[1, 100],
            rounds: 15,
            length: Length::brief(),
            commands: 100,
            ranges: 9,
            restarts: 3,
        }
    }

    /// In a few words.
    pub(super) fn line(&self) -> String {
        let time = self.length.time.as_millis();
        format!(
            "traffic in {} rounds of {time} ms, sizes in turn; [95 % confidence interval]; ?: the interval holds the target",
            self.rounds
        )
    }
}
