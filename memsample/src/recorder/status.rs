//! What a recording holds so far.

use crate::identity::Comm;
use crate::schema::Totals;

/// What a recording holds so far.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Since the recording began; when it has ended, until then.
    pub elapsed: std::time::Duration,
    /// Since a sweep was last finished for it; since the start before the first one. Zero when it has ended.
    pub since_tick: std::time::Duration,
    /// What was written, and what was not.
    pub totals: Totals,
    /// The process with the largest resident set: its name, pid and bytes.
    pub largest: Option<(Comm, i32, u64)>,
    /// How long the sweeps of its ticks took, together.
    pub sweeping: std::time::Duration,
    /// How many kills by the OOM killer were marked.
    pub oom_kills: u64,
    /// Pieces of at most half a second that wait to be written, now: of 32, behind which samples are
    /// dropped.
    pub queued: usize,
}
