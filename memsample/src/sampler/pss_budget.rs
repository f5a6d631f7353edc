//! PSS within a share of one CPU, for who makes sweeps.

use std::fmt;

use super::governor::Governor;
use super::test_groups::TestGroups;

/// The longest that one sweep reads PSS, in nanoseconds.
const MAX_NS: u64 = 20_000_000;

/// A share of one CPU for reading `smaps_rollup`, which costs sixty times as much as `statm`.
///
/// [`Sampler::sweep_within`](super::Sampler::sweep_within) reads within it those whose memory changed most, and those
/// that were not read for long.
pub struct PssBudget {
    governor: Governor,
    tests: TestGroups,
}

impl PssBudget {
    /// Allows `share` of one CPU, such as 0.01.
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self { governor: Governor::new(share.max(0.0)), tests: TestGroups::default() }
    }

    /// Returns what reads within it, and until when it may.
    pub(super) fn parts(&mut self, now_boot_ns: u64) -> (&mut Governor, &mut TestGroups, u64) {
        (&mut self.governor, &mut self.tests, now_boot_ns.saturating_add(MAX_NS))
    }
}

impl fmt::Debug for PssBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PssBudget").finish_non_exhaustive()
    }
}
