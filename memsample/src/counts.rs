//! What a sweep, a reading of control groups and a reading of exit records did and did not read.

use serde::{Deserialize, Serialize};

/// What one sweep did and did not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepCounts {
    /// Processes sampled.
    pub processes: u32,
    /// Process images seen for the first time: new processes, and known ones after an exec.
    pub born: u32,
    /// Processes that were found to have ended since the sweep before, or ended while they were read.
    pub gone: u32,
    /// Files, or whole processes, that the kernel refused to show.
    pub denied: u32,
    /// Files that could not be read or understood for another reason.
    pub unreadable: u32,
    /// Processes that were read by opening their files, because no descriptor was left to keep.
    pub reopened: u32,
    /// Events that the kernel reported and that were lost; a listing made up for them.
    pub events_lost: u32,
    /// Readings of `smaps_rollup`.
    pub rollups_read: u32,
    /// The CPU time that they took, in microseconds.
    pub rollups_cost_us: u32,
    /// Readings of `smaps_rollup` that are due and were put off to a later sweep.
    pub rollups_pending: u32,
    /// Processes whose `smaps_rollup` is not read because a single reading would take too long: they
    /// are larger than [`Sampler::MAX_ROLLUP_RSS_BYTES`](crate::Sampler::MAX_ROLLUP_RSS_BYTES), or than the budget of a recording allows.
    pub rollups_skipped: u32,
    /// Processes of which a file is not known because its reading has not come back, now or in an earlier sweep:
    /// the kernel waits for a lock that somebody holds.
    pub stuck: u32,
}

impl SweepCounts {
    /// Adds the CPU time of a reading of `smaps_rollup`.
    pub(crate) fn add_rollup_cost(&mut self, cost_ns: u64) {
        let cost_us = u32::try_from(cost_ns / 1000).unwrap_or(u32::MAX);
        self.rollups_cost_us = self.rollups_cost_us.saturating_add(cost_us);
    }
}

/// What one reading of all groups did and did not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupCounts {
    /// Groups that were read.
    pub(crate) read: u32,
    /// Groups that were removed since the reading before.
    pub(crate) gone: u32,
    /// Groups of which something could not be read or understood, or that were too many.
    pub(crate) unreadable: u32,
    /// The CPU time that it took, in microseconds.
    pub(crate) cost_us: u32,
}

/// What one reading of exit records brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitCounts {
    /// Processes that exited.
    pub(crate) exits: u32,
    /// How often the kernel dropped records because the socket was full. Each stands for at least one record.
    pub(crate) overflows: u32,
    /// Processes that were forked and exited between two ticks and of which nothing else is known.
    pub(crate) unseen: u32,
    /// Processes that may be of a test of the recording, and of which that is not known.
    pub(crate) unattributed: u32,
}
