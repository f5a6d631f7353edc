//! Counts of outcomes, as people read them.

use std::collections::BTreeMap;

use crate::results::Verdict;

/// Describes how many tests there are of each verdict, what wants attention first: `1 failed, 1 flaky, 7 passed`.
pub(crate) fn listed(counts: &BTreeMap<Verdict, u64>) -> String {
    let known = Verdict::BY_ATTENTION.iter();
    let known = known.filter_map(|verdict| Some((verdict, counts.get(verdict)?)));
    let parts: Vec<String> = known
        .filter(|(_, count)| **count > 0)
        .map(|(verdict, count)| format!("{count} {}", verdict.word()))
        .collect();
    parts.join(", ")
}
