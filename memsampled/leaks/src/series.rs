//! A series of memory over time, checked.

use std::fmt;

/// Memory at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since any begin.
    pub time_s: f64,
    /// Memory, in bytes.
    pub bytes: f64,
    /// How many iterations of its work the program had begun, where that is known.
    pub cycle: Option<f64>,
}

/// Samples in the order of time. Their distances may differ: a gap stays a gap.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: Vec<Sample>,
}

/// Why samples are not a series. The index counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSeries {
    /// A number is infinite or not a number.
    NotFinite(usize),
    /// Less than no memory.
    Negative(usize),
    /// Not later than the sample before.
    NotLater(usize),
    /// A cycle number is below the one before.
    CycleFell(usize),
}

impl fmt::Display for BadSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite(_) => "a number is infinite or not a number; leave the field empty where nothing was measured",
            Self::Negative(_) => "bytes are negative; give the memory itself, not its change",
            Self::NotLater(_) => "the time is not later than in the row before; sort the rows by time_s, one row for each time",
            Self::CycleFell(_) => "the cycle is below the one of the row before; number cycles upwards",
        })
    }
}

impl std::error::Error for BadSeries {}

impl BadSeries {
    /// The index of the sample, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::NotFinite(at) | Self::Negative(at) | Self::NotLater(at) | Self::CycleFell(at) => {
                at
            }
        }
    }
}

impl Series {
    /// Checks samples.
    ///
    /// # Errors
    ///
    /// A number is not finite, bytes are negative, a time is not later than the one before, or a cycle
    /// number falls.
    pub fn new(samples: Vec<Sample>) -> Result<Self, BadSeries> {
        let mut before: Option<Sample> = None;
        let mut cycle_before = f64::NEG_INFINITY;
        for (at, sample) in samples.iter().enumerate() {
            let cycle_is_finite = sample.cycle.is_none_or(f64::is_finite);
            if !(sample.time_s.is_finite() && sample.bytes.is_finite() && cycle_is_finite) {
                return Err(BadSeries::NotFinite(at));
            }
            if sample.bytes < 0.0 {
                return Err(BadSeries::Negative(at));
            }
            if before.is_some_and(|before| before.time_s >= sample.time_s) {
                return Err(BadSeries::NotLater(at));
            }
            if let Some(cycle) = sample.cycle {
                if cycle < cycle_before {
                    return Err(BadSeries::CycleFell(at));
                }
                cycle_before = cycle;
            }
            before = Some(*sample);
        }
        Ok(Self { samples })
    }

    /// Takes samples that are known to be in the order of time, and finite.
    pub(crate) fn in_order(samples: Vec<Sample>) -> Self {
        Self { samples }
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

/// The seconds from the first to the last sample.
pub(crate) fn span_s(samples: &[Sample]) -> f64 {
    match samples {
        [first, .., last] => last.time_s - first.time_s,
        _ => 0.0,
    }
}

/// Gaps: distances above five times the usual one and above a hundredth of the span. Returns their number and
/// the longest, in seconds.
pub(crate) fn gaps(samples: &[Sample]) -> (usize, f64) {
    let distances: Vec<f64> =
        samples.iter().zip(samples.iter().skip(1)).map(|(a, b)| b.time_s - a.time_s).collect();
    let usual = quantile(&mut distances.clone(), 0.5);
    let least = (5.0 * usual).max(span_s(samples) / 100.0);
    let long = distances.into_iter().filter(|&distance| distance > least);
    long.fold((0, 0.0), |(count, longest), distance| (count + 1, distance.max(longest)))
}

/// The quantile of values, which are reordered; 0 of none.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length"
    )]
    let at = ((last as f64 * share).round() as usize).min(last);
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}
