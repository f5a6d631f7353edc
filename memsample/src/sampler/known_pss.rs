//! The sum of the last known PSS of all processes.

use super::processes::Processes;
use crate::metric::{Files, Metric};
use crate::schema::KnownPss;

/// Returns what is known of the PSS of the processes that the last sweep read; `None` where this
/// kernel has none.
pub(super) fn known_pss(processes: &Processes) -> Option<KnownPss> {
    if !processes.reader.supported.contains(Files::SMAPS_ROLLUP) {
        return None;
    }
    let now_ns = processes.reader.clock.now().boot_ns;
    let mut known = KnownPss::default();
    let mut weighted_ms = 0_u128;
    let read = processes.entries.iter().filter(|entry| !entry.read.is_empty());
    for process in read.filter_map(|entry| entry.process()) {
        let Some(pss_boot_ns) = process.pss_boot_ns else {
            known.unknown_processes += 1;
            let rss_bytes = process.metrics.get(Metric::Rss);
            known.unknown_rss_bytes = known.unknown_rss_bytes.saturating_add(rss_bytes);
            continue;
        };
        let pss_bytes = process.metrics.get(Metric::Pss);
        let age_ms = now_ns.saturating_sub(pss_boot_ns) / 1_000_000;
        known.known_processes += 1;
        known.known_bytes = known.known_bytes.saturating_add(pss_bytes);
        known.oldest_ms = known.oldest_ms.max(Some(age_ms));
        weighted_ms += u128::from(age_ms) * u128::from(pss_bytes);
    }
    // A mean is not larger than the largest.
    let mean_ms = weighted_ms.checked_div(u128::from(known.known_bytes));
    known.mean_age_ms = mean_ms.and_then(|mean_ms| u64::try_from(mean_ms).ok());
    Some(known)
}
