//! Whether the memory of an attempt leaks.

use memsample_leaks::{RoleJudgement, Verdict};
use serde::{Deserialize, Serialize};

use crate::suite::Action;

/// Whether the memory of a role leaks, where the suite asks for it: `docs/leaks.md` says how that is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakResult {
    /// Of which processes; `None`: all together.
    pub role: Option<String>,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why, as the end of a sentence.
    pub reason: String,
    /// Growth after the warm-up, in bytes an hour; `None` where nothing can be told.
    pub rate_bytes_per_hour: Option<i64>,
    /// The lower end of its 99 % interval.
    pub rate_bytes_per_hour_lower: Option<i64>,
    /// The upper end of it.
    pub rate_bytes_per_hour_upper: Option<i64>,
    /// The samples by which it was judged.
    pub samples: u64,
    /// What happens if it leaks.
    pub action: Action,
}

impl LeakResult {
    /// Returns what is told of a judgement.
    #[must_use]
    pub fn of(judged: &RoleJudgement, action: Action) -> Self {
        let judgement = &judged.judgement;
        // What is too large for the integer becomes the largest one.
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        let whole = |bytes: f64| bytes.round() as i64;
        let rate = judgement.by_hour;
        Self {
            role: judged.role.clone(),
            verdict: judgement.verdict,
            reason: judgement.reason.clone(),
            rate_bytes_per_hour: rate.map(|rate| whole(rate.rate)),
            rate_bytes_per_hour_lower: rate.map(|rate| whole(rate.lower)),
            rate_bytes_per_hour_upper: rate.map(|rate| whole(rate.upper)),
            samples: judgement.samples as u64,
            action,
        }
    }

    /// Returns whether it leaks.
    #[must_use]
    pub fn leaks(&self) -> bool {
        self.verdict == Verdict::Leaks
    }
}
