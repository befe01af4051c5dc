//! What the numbers are: how they are written and shown, and whether more of it is better. `xtask` reads this file too.

/// How a ratio is to be read, for whoever sees one.
pub(crate) const RATIOS: &str =
    "a ratio above 1 is in netdp's favour: netdp / other, and other / netdp where lower is better";

/// What is counted in one kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Transactions
    PerSecond,
    /// Bits of a stream
    Gigabits,
    /// Processor time
    NanosecondsPerPacket,
    /// Time that somebody waits
    Microseconds,
}

impl Unit {
    const ALL: [Self; 4] = [Self::PerSecond, Self::Gigabits, Self::NanosecondsPerPacket, Self::Microseconds];

    /// Its name in results.json.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::Gigabits => "Gbit/s",
            Self::NanosecondsPerPacket => "ns/packet",
            Self::Microseconds => "us",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    pub(crate) fn is_better_lower(self) -> bool {
        matches!(self, Self::NanosecondsPerPacket | Self::Microseconds)
    }

    /// What people read beside a value.
    pub(crate) fn short(self) -> &'static str {
        if self == Self::PerSecond { "k/s" } else { self.name() }
    }

    /// What people read above values.
    pub(crate) fn label(self) -> String {
        if self.is_better_lower() {
            format!("{}, lower is better", self.short())
        } else {
            self.short().into()
        }
    }

    /// A value as people read it, without the unit.
    pub(crate) fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{:.1}", value / 1000.0),
            Self::Gigabits | Self::Microseconds => format!("{value:.1}"),
            Self::NanosecondsPerPacket => format!("{value:.0}"),
        }
    }
}

/// A ratio and its 95 % confidence interval; what was measured once has none.
pub(crate) fn interval(median: f64, low: f64, high: f64) -> String {
    if low < high { format!("{median:.2} [{low:.2}, {high:.2}]") } else { format!("{median:.2}") }
}
