//! What the PSS column explains of the machine's memory.

use serde::{Deserialize, Serialize};

use super::{Sampler, Snapshot};
use crate::metric::{Files, Metric};
use crate::parse::Meminfo;

/// The last known PSS of all living processes together, and how much is behind it.
///
/// PSS divides each mapped page by the processes that map it, so over all processes it sums up to what
/// is mapped: `AnonPages` + `Mapped` of `meminfo`. [`explains`](Self::explains) compares the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPss {
    /// The sum.
    pub known_bytes: u64,
    /// The processes in it.
    pub known_processes: u32,
    /// Processes of which no PSS was read since their image began.
    pub unknown_processes: u32,
    /// Their resident set: their PSS is no larger.
    pub unknown_rss_bytes: u64,
    /// The age of the oldest value, in milliseconds; `None` where there is none.
    pub oldest_ms: Option<u64>,
    /// The mean age in milliseconds, each value weighted with itself.
    pub mean_age_ms: Option<u64>,
}

impl KnownPss {
    /// Returns the share of the mapped memory that the sum is. It may be above 1, since the two are
    /// not of one instant; `None` where `meminfo` does not say what is mapped.
    ///
    /// What it lacks, and why, is in `docs/coverage.md`.
    #[must_use]
    pub fn explains(&self, meminfo: &Meminfo) -> Option<f64> {
        let mapped = meminfo.mapped_bytes().filter(|&bytes| bytes > 0)?;
        Some(self.known_bytes as f64 / mapped as f64)
    }
}

impl Snapshot<'_> {
    /// Returns what is known of the PSS of all processes together, also from earlier sweeps; `None`
    /// where this kernel has no `smaps_rollup`.
    #[must_use]
    pub fn known_pss(&self) -> Option<KnownPss> {
        self.sampler.known_pss()
    }
}

impl Sampler {
    /// Returns what is known of the PSS of the processes that the last sweep read; `None` where this
    /// kernel has none.
    pub(crate) fn known_pss(&self) -> Option<KnownPss> {
        if !self.supported_files().contains(Files::SMAPS_ROLLUP) {
            return None;
        }
        let now_ns = self.reader.clock.now().boot_ns;
        let mut known = KnownPss::default();
        let mut weighted_ms = 0_u128;
        let read = self.entries.iter().filter(|entry| !entry.read.is_empty());
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
}
