//! What a sweep came to.

use tests::statistics::{Estimate, median};

/// Any number would do; one that stays gives the same interval for the same values.
const SEED: u64 = 4787;

/// Rows of numbers over a few sizes.
pub(super) struct Sweep {
    /// What there is more of from column to column.
    pub(super) of: &'static str,
    /// The columns, smallest first.
    pub(super) sizes: Vec<u32>,
    pub(super) rows: Vec<Row>,
    /// What a reader must know beside it.
    pub(super) notes: Vec<String>,
}

/// One thing, measured at each size.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    /// Every single value, by size; none where it was not measured.
    pub(super) values: Vec<Vec<f64>>,
    pub(super) bar: Option<Bar>,
}

/// What is wanted of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    /// The largest size costs at most so many percent more than the smallest; paired by round.
    Slope(f64),
    /// At the largest size the median is at most this.
    Median(f64),
    /// At the largest size 99 of 100 are at most this.
    P99(f64),
}

impl Row {
    /// A row without a bar.
    pub(super) fn new(what: impl Into<String>, unit: &'static str, values: Vec<Vec<f64>>) -> Self {
        Self { what: what.into(), unit, values, bar: None }
    }

    /// With one.
    pub(super) fn at_most(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }

    /// By how many percent the largest size costs more than the smallest, of the rounds that both were measured in.
    pub(super) fn slope(&self) -> Option<Estimate> {
        let measured = || self.values.iter().filter(|values| !values.is_empty());
        let (first, last) = (measured().next()?, measured().next_back()?);
        if measured().count() < 2 || first.len() != last.len() {
            return None;
        }
        let pairs: Vec<(f64, f64)> = last.iter().copied().zip(first.iter().copied()).collect();
        let Estimate { median, low, high } = Estimate::of_ratios(&pairs, SEED)?;
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        Some(Estimate { median: percent(median), low: percent(low), high: percent(high) })
    }

    /// What the bar is laid at, when it was measured.
    pub(super) fn judged(&self) -> Option<f64> {
        let last = || self.values.iter().rfind(|values| !values.is_empty());
        match self.bar? {
            Bar::Slope(_) => self.slope().map(|slope| slope.median),
            Bar::Median(_) => median(last()?),
            Bar::P99(_) => percentile(last()?, 99),
        }
    }

    /// Whether the interval of the slope reaches over its limit and below it.
    pub(super) fn is_in_doubt(&self) -> bool {
        let Some(Bar::Slope(limit)) = self.bar else { return false };
        self.slope().is_some_and(|slope| slope.low <= limit && slope.high > limit)
    }
}

impl Bar {
    /// The most that is wanted.
    pub(super) fn limit(self) -> f64 {
        match self {
            Self::Slope(limit) | Self::Median(limit) | Self::P99(limit) => limit,
        }
    }

    /// What it is laid at.
    pub(super) fn of(self) -> &'static str {
        match self {
            Self::Slope(_) => "slope",
            Self::Median(_) => "median",
            Self::P99(_) => "p99",
        }
    }
}

/// The value that so many of a hundred do not exceed: of less than a hundred values, the 99th is the largest.
pub(super) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}
