//! What changed against another run.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use memsample_runner::results::{AttemptResults, Results, RoleMemory, TestResults, Verdict};
use serde::{Deserialize, Serialize};

/// Roles that are named.
const MAX_ROLES: usize = 5;

/// What changed of a test against another run. One attempt against one: `memsample compare` says what is noise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How it ended there; `None` where the other run has no such test.
    pub base_outcome: Option<Verdict>,
    /// The lower bound of the peak of resident sets there, in bytes; `None` where it was not measured.
    pub base_rss_peak_bytes: Option<u64>,
    /// Its upper bound there; `None` where nothing bounds it.
    pub base_rss_peak_bytes_upper: Option<u64>,
    /// The same of the attempt that is explained.
    pub rss_peak_bytes: Option<u64>,
    /// Its upper bound.
    pub rss_peak_bytes_upper: Option<u64>,
    /// Whether the bounds do not overlap, so that the difference is not one of sampling; `None` where a bound is missing.
    pub bounds_differ: Option<bool>,
    /// The roles whose peaks differ most.
    pub roles: Vec<RoleChange>,
}

/// What changed of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChange {
    /// The role.
    pub role: String,
    /// The lower bound of its peak there, in bytes; `None` where there is no such role among the largest.
    pub base_rss_peak_bytes: Option<u64>,
    /// The same of the attempt that is explained.
    pub rss_peak_bytes: Option<u64>,
}

pub(crate) fn change(base: &Results, test: &str, attempt: &AttemptResults) -> Change {
    let base = base.tests.iter().find(|it| it.name == test).and_then(TestResults::deciding);
    let peak = |attempt: &AttemptResults| attempt.ended.memory.as_ref()?.rss_peak();
    let (there, here) = (base.and_then(peak), peak(attempt));
    let differ = there.zip(here).and_then(|(there, here)| {
        let (there_upper, here_upper) = (there.upper?, here.upper?);
        Some(here.lower > there_upper || there.lower > here_upper)
    });
    Change {
        base_outcome: base.map(|base| base.ended.outcome),
        base_rss_peak_bytes: there.map(|it| it.lower),
        base_rss_peak_bytes_upper: there.and_then(|it| it.upper),
        rss_peak_bytes: here.map(|it| it.lower),
        rss_peak_bytes_upper: here.and_then(|it| it.upper),
        bounds_differ: differ,
        roles: base.map(|base| roles(&base.ended.roles, &attempt.ended.roles)).unwrap_or_default(),
    }
}

fn roles(there: &[RoleMemory], here: &[RoleMemory]) -> Vec<RoleChange> {
    let mut all: BTreeMap<&str, (Option<u64>, Option<u64>)> = BTreeMap::new();
    there.iter().for_each(|it| all.entry(&it.role).or_default().0 = Some(it.rss_peak_bytes));
    here.iter().for_each(|it| all.entry(&it.role).or_default().1 = Some(it.rss_peak_bytes));
    let mut changes: Vec<RoleChange> = all
        .into_iter()
        .filter(|(_, (there, here))| there != here)
        .map(|(role, (base_rss_peak_bytes, rss_peak_bytes))| RoleChange {
            role: role.to_owned(),
            base_rss_peak_bytes,
            rss_peak_bytes,
        })
        .collect();
    let size = |it: &RoleChange| {
        it.rss_peak_bytes.unwrap_or(0).abs_diff(it.base_rss_peak_bytes.unwrap_or(0))
    };
    changes.sort_by_key(|it| Reverse(size(it)));
    changes.truncate(MAX_ROLES);
    changes
}
