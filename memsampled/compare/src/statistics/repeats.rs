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
    let quantile = quantile_of_level(0.05 / (2.0 * comparisons.max(1) as f64));
    let repeats = 2.0 * ((quantile + POWER_QUANTILE) * noise / change).powi(2) / EFFICIENCY;
    // Infinite and not a number, for a change of zero, become the largest.
    repeats.ceil().min(MAX) as u32
}

/// Returns the change that so many repeats of each side find in 95 % of cases, in the unit of the noise: the inverse of
/// [`repeats_to_tell`].
#[must_use]
pub fn changes_found(noise: f64, repeats: u32, comparisons: usize) -> f64 {
    let quantile = quantile_of_level(0.05 / (2.0 * comparisons.max(1) as f64));
    let spread = (2.0 / (f64::from(repeats.max(1)) * EFFICIENCY)).sqrt();
    (quantile + POWER_QUANTILE) * noise * spread
}

/// Returns what a standard normal number is above with the probability `level`; infinite at 0.
#[must_use]
pub fn quantile_of_level(level: f64) -> f64 {
    Normal::new(0.0, 1.0).map_or(f64::INFINITY, |normal| normal.inverse_cdf(1.0 - level))
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
        let change = changes_found(0.02, 56, 100);
        assert!((change - 0.02).abs() < 0.0002, "{change}");
    }
}
