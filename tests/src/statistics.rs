//! What a few noisy measurements say: the median, and the interval that it lies in.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Resamples of one bootstrap: the ends of the interval then differ by less than the noise of any benchmark.
const RESAMPLES: usize = 2000;
/// Shares of the resampled medians that are cut off below and above; what is between is 95 %.
const TAIL: f64 = 0.025;

/// A median with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The middle of what was measured.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// The median of the values, with an interval by percentile bootstrap; the same seed gives the same interval. Nothing of
    /// no value.
    pub fn of(values: &[f64], seed: u64) -> Option<Self> {
        let median = median(values)?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut medians: Vec<f64> = (0..RESAMPLES).filter_map(|_| resampled(values, &mut random)).collect();
        medians.sort_by(f64::total_cmp);
        Some(Self { median, low: quantile(&medians, TAIL)?, high: quantile(&medians, 1.0 - TAIL)? })
    }

    /// Of the ratios of values that were measured side by side.
    pub fn of_ratios(pairs: &[(f64, f64)], seed: u64) -> Option<Self> {
        let ratios: Vec<f64> = pairs.iter().map(|(of, to)| of / to).collect();
        Self::of(&ratios, seed)
    }
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (below, above) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*below, *above))
}

fn resampled(values: &[f64], random: &mut StdRng) -> Option<f64> {
    let sample: Vec<f64> = values.iter().map(|_| values[random.random_range(0..values.len())]).collect();
    median(&sample)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a few thousand values"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISY: [f64; 9] = [9.0, 10.5, 9.8, 10.1, 30.0, 9.9, 10.2, 10.0, 9.7];

    #[test]
    fn median_is_the_middle_in_whatever_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn interval_is_the_same_by_the_same_seed_and_holds_the_median() {
        let estimate = Estimate::of(&NOISY, 1).unwrap();
        assert_eq!(Estimate::of(&NOISY, 1).unwrap(), estimate);
        assert_eq!(Some(estimate.median), median(&NOISY));
        assert!(estimate.low <= estimate.median && estimate.median <= estimate.high, "{estimate:?}");
    }

    #[test]
    fn one_outlier_does_not_widen_the_interval() {
        let Estimate { low, high, .. } = Estimate::of(&NOISY, 7).unwrap();
        assert!(low >= 9.0 && high < 30.0, "{low} to {high}");
    }

    #[test]
    fn more_measurements_make_the_interval_narrower() {
        let width = |values: &[f64]| Estimate::of(values, 3).map(|e| e.high - e.low).unwrap();
        assert!(width(&NOISY.repeat(9)) < width(&NOISY));
    }

    #[test]
    fn one_measurement_is_its_own_interval_and_none_has_none() {
        let alone = Estimate::of(&[2.0], 1).unwrap();
        assert_eq!(alone, Estimate { median: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(Estimate::of(&[], 1), None);
    }

    #[test]
    fn ratio_is_of_each_pair_and_not_of_the_medians() {
        // The machine was twice as slow in the second round, for both.
        let estimate = Estimate::of_ratios(&[(90.0, 100.0), (45.0, 50.0), (91.0, 100.0)], 1).unwrap();
        assert!((estimate.median - 0.9).abs() < 1e-9, "{estimate:?}");
    }
}
