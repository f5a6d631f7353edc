//! What is said of a series.

use serde::{Deserialize, Serialize};

/// Whether a series leaks. What wants attention comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows from its begin (or the end of its warm-up) to its end, and no slower at the end.
    Leaks,
    /// The series does not tell; the reason says what would.
    CannotTell,
    /// It grows more and more slowly.
    Filling,
    /// It grew once and stayed there.
    OneOff,
    /// It does not grow, or by less than what counts.
    Steady,
}

impl Verdict {
    /// All, what wants attention first.
    pub const BY_ATTENTION: [Self; 5] =
        [Self::Leaks, Self::CannotTell, Self::Filling, Self::OneOff, Self::Steady];

    /// The same for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OneOff => "one-off",
            Self::CannotTell => "cannot tell",
            other => other.word(),
        }
    }

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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "JudgementKeys")]
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

/// A judgement as JSON has it: `docs/leaks.schema.json`.
#[derive(Serialize)]
struct JudgementKeys {
    verdict: Verdict,
    reason: String,
    rate_bytes_per_hour: Option<f64>,
    rate_bytes_per_hour_lower: Option<f64>,
    rate_bytes_per_hour_upper: Option<f64>,
    rate_bytes_per_cycle: Option<f64>,
    rate_bytes_per_cycle_lower: Option<f64>,
    rate_bytes_per_cycle_upper: Option<f64>,
    confidence: Option<f64>,
    samples: usize,
    warm_up_s: f64,
    gaps: usize,
    longest_gap_s: f64,
    level_bytes: Option<f64>,
}

impl From<Judgement> for JudgementKeys {
    fn from(judgement: Judgement) -> Self {
        let Judgement { by_hour, by_cycle, .. } = judgement;
        Self {
            verdict: judgement.verdict,
            reason: judgement.reason,
            rate_bytes_per_hour: by_hour.map(|rate| rate.rate),
            rate_bytes_per_hour_lower: by_hour.map(|rate| rate.lower),
            rate_bytes_per_hour_upper: by_hour.map(|rate| rate.upper),
            rate_bytes_per_cycle: by_cycle.map(|rate| rate.rate),
            rate_bytes_per_cycle_lower: by_cycle.map(|rate| rate.lower),
            rate_bytes_per_cycle_upper: by_cycle.map(|rate| rate.upper),
            confidence: judgement.confidence,
            samples: judgement.samples,
            warm_up_s: judgement.warm_up_s,
            gaps: judgement.gaps,
            longest_gap_s: judgement.longest_gap_s,
            level_bytes: judgement.level_bytes,
        }
    }
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
