//! How much builds differ of which nothing has changed, estimated from earlier releases.
//!
//! Each build has a shift of its own, by its layout and its hash seeds, and no number of repeats averages it out. A
//! history never condemns: it makes the least change larger that counts, and says the smallest that can be found.

use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;
use crate::releases::Release;
use crate::sides::numbers;
use crate::statistics::{changes_found, median, quantile_of_level};

/// The least releases of which a history is made.
pub const MIN_RELEASES: usize = 3;
/// The least pairs of one test in two releases that follow each other.
const MIN_PAIRS: usize = 8;
/// The median of a squared number with a standard normal distribution.
const MEDIAN_SQUARE: f64 = 0.454_936;
/// Of how many suites a shift of the builds alone may be called a change, in one direction.
const LEVEL: f64 = 0.025;

/// How much builds differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct History {
    /// Of how many releases it is known.
    pub releases: u64,
    /// The standard deviation of the shift of a build, as a logarithm. Half of all differences are larger than what it
    /// says, so that real changes of some tests do not make it larger.
    pub shift: f64,
    /// The standard deviation of repeats within a release, as a logarithm: the median over tests. `None` where no release
    /// has repeats, so that the shift has the noise in it.
    pub noise: Option<f64>,
}

/// A history in the words of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistorySummary {
    /// Of how many releases it is known.
    pub releases: u64,
    /// The standard deviation of the shift of a build, in percent.
    pub build_shift_percent: f64,
    /// The least change that is more than the shift of two builds, in percent: what is smaller is not called a change.
    pub least_change_percent: f64,
    /// The noise of repeats, in percent; `None` where the history has no repeats.
    pub noise_percent: Option<f64>,
    /// The smallest change that three looks, with twenty repeats a side, find in 95 % of cases, in percent.
    pub smallest_change_found_percent: f64,
}

impl History {
    /// Estimates it from releases in the order of time.
    ///
    /// # Errors
    ///
    /// A sentence for a person: there are too few.
    pub fn of(releases: &[Release], quantities: &[Quantity]) -> Result<Self, String> {
        if releases.len() < MIN_RELEASES {
            return Err(format!(
                "the history has {} releases, and {MIN_RELEASES} are the least: label runs with `--label release=NAME`",
                releases.len()
            ));
        }
        let of_release: Vec<_> =
            releases.iter().map(|release| numbers(&release.runs, quantities, false)).collect();
        let (mut squares, mut errors, mut deviations) = (Vec::new(), Vec::new(), Vec::new());
        for (before, after) in of_release.iter().zip(of_release.iter().skip(1)) {
            for (key, after) in after {
                let Some(before) = before.get(key) else { continue };
                let (Some(one), Some(other)) = (Moments::of(before), Moments::of(after)) else {
                    continue;
                };
                let freedom = one.count + other.count - 2.0;
                let variance = (one.squares + other.squares) / freedom.max(1.0);
                if freedom > 0.0 {
                    deviations.push(variance.sqrt());
                }
                squares.push((other.mean - one.mean).powi(2));
                errors.push(variance * (1.0 / one.count + 1.0 / other.count));
            }
        }
        if squares.len() < MIN_PAIRS {
            return Err(format!(
                "the history has {} pairs of a test in two releases that follow each other, and {MIN_PAIRS} are the \
                 least: add releases",
                squares.len()
            ));
        }
        let typical = median(&squares).unwrap_or(0.0) / MEDIAN_SQUARE;
        let error = median(&errors).unwrap_or(0.0);
        Ok(Self {
            releases: releases.len() as u64,
            shift: ((typical - error).max(0.0) / 2.0).sqrt(),
            noise: median(&deviations),
        })
    }

    /// Returns the least change, as a logarithm, that is more than what two builds differ by among so many comparisons.
    #[must_use]
    pub fn least_change(&self, comparisons: usize) -> f64 {
        quantile_of_level(LEVEL / comparisons.max(1) as f64) * std::f64::consts::SQRT_2 * self.shift
    }

    /// Returns it in the words of a comparison.
    #[must_use]
    pub(crate) fn summary(&self, comparisons: usize) -> HistorySummary {
        let percent = |logarithm: f64| logarithm.exp_m1() * 100.0;
        let least = self.least_change(comparisons);
        let by_noise = changes_found(self.noise.unwrap_or(0.0), 20, comparisons);
        HistorySummary {
            releases: self.releases,
            build_shift_percent: percent(self.shift),
            least_change_percent: percent(least),
            noise_percent: self.noise.map(percent),
            // Half of the changes that are as large as the least one seem smaller.
            smallest_change_found_percent: percent(
                by_noise.max(least + 1.645 * std::f64::consts::SQRT_2 * self.shift),
            ),
        }
    }
}

/// The mean and the squares of the repeats of one release, of logarithms.
struct Moments {
    count: f64,
    mean: f64,
    /// The sum of the squared distances to the mean.
    squares: f64,
}

impl Moments {
    fn of(numbers: &crate::sides::Numbers) -> Option<Self> {
        let logarithms: Vec<f64> =
            numbers.numbers.iter().map(|number| (number.bytes.lower as f64).ln()).collect();
        if logarithms.is_empty() {
            return None;
        }
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        let squares = logarithms.iter().map(|it| (it - mean).powi(2)).sum();
        Some(Self { count, mean, squares })
    }
}
