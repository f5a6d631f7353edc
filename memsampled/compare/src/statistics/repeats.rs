//! How many repeats it takes to find a change.

use statrs::distribution::{ContinuousCDF, Normal};

/// The one-sided quantile by which 95 % of such changes are found.
const POWER_QUANTILE: f64 = 1.645;
/// The efficiency of a rank test against a t-test where noise is Gaussian.
const EFFICIENCY: f64 = 0.955;
/// A larger number of repeats is of no use to anybody.
const MAX: f64 = 1e6;

/// Returns how many repeats each side needs so that a change of `change` is found in 95 % of cases among `comparisons`
/// comparisons, where the noise has the standard deviation `noise`; both in the same unit.
#[must_use]
pub fn repeats_to_tell(noise: f64, change: f64, comparisons: usize) -> u32 {
    let level = 0.05 / (2.0 * comparisons.max(1) as f64);
    let Ok(normal) = Normal::new(0.0, 1.0) else { return MAX as u32 };
    let quantile = normal.inverse_cdf(1.0 - level);
    let repeats = 2.0 * ((quantile + POWER_QUANTILE) * noise / change).powi(2) / EFFICIENCY;
    // Infinite and not a number, for a change of zero, become the largest.
    repeats.ceil().min(MAX) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_as_large_as_the_noise_takes_dozens() {
        // (3.481 + 1.645)² · 2 / 0.955
        assert_eq!(repeats_to_tell(0.02, 0.02, 100), 56);
        assert_eq!(repeats_to_tell(0.02, 0.05, 100), 9);
        assert_eq!(repeats_to_tell(0.02, 0.02, 1), 28);
        assert_eq!(repeats_to_tell(0.0, 0.02, 100), 0);
        assert_eq!(repeats_to_tell(0.02, 0.0, 100), 1_000_000);
    }
}
