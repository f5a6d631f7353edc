//! What is told of leaks, as JSON has it: `docs/leaks.schema.json`.

use std::collections::BTreeMap;

use memsample_leaks::{Judgement, RoleJudgement, Verdict};
use serde::Serialize;

use super::limits::Limit;

/// The version of the format of the JSON. Raised when a key changes its meaning or goes.
const FORMAT_VERSION: u32 = 1;

/// What is told of some recordings.
#[derive(Serialize)]
pub(super) struct Found {
    format_version: u32,
    memsample_version: &'static str,
    /// `leaks` or `none`.
    outcome: &'static str,
    /// The paths of the recordings.
    recordings: Vec<String>,
    /// How many judgements there are of each verdict that occurs.
    counts: BTreeMap<&'static str, usize>,
    /// Worst first.
    pub(super) judgements: Vec<Told>,
}

/// What is told of one role.
#[derive(Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub(super) of: RoleJudgement,
    #[serde(flatten)]
    pub(super) reached: Reached,
}

/// What is told of one series.
#[derive(Serialize)]
pub(super) struct ToldSeries {
    #[serde(flatten)]
    pub(super) judgement: Judgement,
    #[serde(flatten)]
    pub(super) reached: Reached,
    /// Rows without bytes.
    pub(super) unmeasured: u64,
}

/// The smallest limit, and when memory reaches it if it goes on so.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Reached {
    #[serde(flatten)]
    limit: LimitKeys,
    /// Hours from the end, soonest.
    reached_in_hours_lower: Option<f64>,
    /// Hours from the end, latest.
    reached_in_hours_upper: Option<f64>,
    #[serde(skip)]
    pub(super) of: Option<Limit>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct LimitKeys {
    limit_bytes: Option<u64>,
    limit: Option<super::limits::LimitKind>,
}

impl Found {
    /// Puts together what is told, worst first.
    pub(super) fn new(recordings: Vec<String>, mut judgements: Vec<Told>) -> Self {
        judgements.sort_by(|one, other| {
            let key = |it: &Told| (it.of.judgement.verdict, is_short(&it.of.judgement));
            let rate = |it: &Told| it.of.judgement.by_hour.map_or(0.0, |rate| rate.rate);
            key(one).cmp(&key(other)).then(rate(other).total_cmp(&rate(one)))
        });
        let mut counts = BTreeMap::new();
        for it in &judgements {
            *counts.entry(it.of.judgement.verdict.word()).or_default() += 1;
        }
        let leaks = counts.contains_key(Verdict::Leaks.word());
        Self {
            format_version: FORMAT_VERSION,
            memsample_version: env!("CARGO_PKG_VERSION"),
            outcome: if leaks { "leaks" } else { "none" },
            recordings,
            counts,
            judgements,
        }
    }

    /// Returns whether something leaks.
    pub(super) fn leaks(&self) -> bool {
        self.count(Verdict::Leaks) > 0
    }

    /// Counts the judgements with a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.counts.get(verdict.word()).copied().unwrap_or(0)
    }
}

impl Reached {
    /// Returns when the smallest of some limits is reached.
    pub(super) fn of(judgement: &Judgement, limits: [Option<Limit>; 2]) -> Self {
        let Some(limit) = limits.into_iter().flatten().min() else { return Self::default() };
        let hours = judgement.hours_until(limit.limit_bytes as f64);
        Self {
            limit: LimitKeys { limit_bytes: Some(limit.limit_bytes), limit: Some(limit.limit) },
            reached_in_hours_lower: hours.map(|(lower, _)| lower),
            reached_in_hours_upper: hours.map(|(_, upper)| upper),
            of: Some(limit),
        }
    }

    /// Returns the hours from the end, soonest and latest.
    pub(super) fn hours(&self) -> Option<(f64, f64)> {
        self.reached_in_hours_lower.zip(self.reached_in_hours_upper)
    }
}

/// Returns whether there are fewer samples than are judged.
pub(super) fn is_short(judgement: &Judgement) -> bool {
    judgement.samples < memsample_leaks::MIN_SAMPLES
}
