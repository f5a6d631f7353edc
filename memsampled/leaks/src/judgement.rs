//! What is said of a series.

use serde::Serialize;

/// Whether a series leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows from its begin (or the end of its warm-up) to its end, and no slower at the end.
    Leaks,
    /// It does not grow, or by less than what counts.
    Steady,
    /// It grows more and more slowly.
    Filling,
    /// It grew once and stayed there.
    OneOff,
    /// The series does not tell; the reason says what would.
    CannotTell,
}

impl Verdict {
    /// Its word in results.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaks => "leaks",
            Self::Steady => "steady",
            Self::Filling => "filling",
            Self::OneOff => "one_off",
            Self::CannotTell => "cannot_tell",
        }
    }
}

/// A rate of growth with its 99 % interval; in bytes by hour or by cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// The rate.
    pub rate: f64,
    /// The lower end of the interval.
    pub lower: f64,
    /// The upper end of it.
    pub upper: f64,
}

/// The verdict with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// Bytes each hour after the warm-up; `None` where the series is too short for one.
    pub by_hour: Option<Rate>,
    /// Bytes each cycle; likewise, and where cycles are not given.
    pub by_cycle: Option<Rate>,
    /// How much of the resamples agrees with the verdict, from 0 to 1; `None` where it cannot tell.
    pub confidence: Option<f64>,
    /// The samples of the series.
    pub samples: usize,
    /// The seconds at its begin that were taken for warm-up and left out.
    pub warm_up_s: f64,
    /// The gaps in it, and the longest, in seconds.
    pub gaps: usize,
    /// The longest gap, in seconds.
    pub longest_gap_s: f64,
    /// The memory at its end by the line, in bytes.
    pub level_bytes: Option<f64>,
}

impl Judgement {
    /// Hours from the end of the series until memory reaches a limit, soonest and latest; `None` where it
    /// does not leak. 0 where the limit is reached already.
    #[must_use]
    pub fn hours_until(&self, limit_bytes: f64) -> Option<(f64, f64)> {
        let rate = self.by_hour.filter(|rate| rate.lower > 0.0)?;
        let left = (limit_bytes - self.level_bytes?).max(0.0);
        (self.verdict == Verdict::Leaks).then(|| (left / rate.upper, left / rate.lower))
    }
}
