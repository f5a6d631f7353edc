//! What the ticks of a recording come to.

use serde::{Deserialize, Serialize};

use super::ticks::Tick;

/// What a recording holds and what it lacks, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Sweeps that were made; while it is recorded, those of them that were written.
    pub ticks: u64,
    /// Rows of `samples`.
    pub samples: u64,
    /// Process images that were seen: the rows of `processes`.
    pub processes: u64,
    /// Exits that the kernel reported: the rows of `exits`.
    pub exits: u64,
    /// Processes that lived between two ticks, of which only their end is known. Contained in
    /// `processes`.
    pub unsampled: u64,
    /// How often the kernel dropped exit records because the socket was full. Each stands for at least
    /// one process that is missing in `exits`.
    pub exits_lost: u64,
    /// Events of processes that were lost, and which a listing made up for.
    pub events_lost: u64,
    /// Processes that began and ended between two ticks and of which nothing else is known.
    pub unseen: u64,
    /// Processes that may belong to a test of the recording, and of which that is not known.
    pub unattributed: u64,
    /// Planned instants that were met late, or not at all.
    pub late: u64,
    /// Planned instants at which no sweep began. Contained in `late`, but for those while the machine
    /// was suspended.
    pub missed: u64,
    /// Samples that were read and not written, because the writer was behind.
    pub dropped: u64,
    /// Samples of processes outside of the target of the recording, which were read and not written.
    pub outside: u64,
    /// Processes that ended.
    pub gone: u64,
    /// Readings that the kernel refused.
    pub denied: u64,
    /// Readings that failed for another reason.
    pub unreadable: u64,
    /// Readings that had to open the files of the process, because no descriptor was left to keep.
    pub reopened: u64,
    /// Readings of PSS that were left out because the process is too large.
    pub pss_skipped: u64,
    /// Samples of processes of which another reading had not come back, because a lock of theirs was held.
    pub stuck: u64,
}

impl Totals {
    /// Adds a tick, of which `samples` rows are written.
    pub(crate) fn add(&mut self, tick: &Tick, samples: u64) {
        self.ticks += 1;
        self.samples += samples;
        self.late += u64::from(tick.late);
        self.missed += u64::from(tick.missed);
        self.dropped += u64::from(tick.dropped);
        self.outside += u64::from(tick.outside);
        self.gone += u64::from(tick.counts.gone);
        self.denied += u64::from(tick.counts.denied);
        self.unreadable += u64::from(tick.counts.unreadable);
        self.reopened += u64::from(tick.counts.reopened);
        self.events_lost += u64::from(tick.counts.events_lost);
        self.unseen += u64::from(tick.exits.unseen);
        self.unattributed += u64::from(tick.exits.unattributed);
        self.exits_lost += u64::from(tick.exits.overflows);
        self.pss_skipped += u64::from(tick.counts.rollups_skipped);
        self.stuck += u64::from(tick.counts.stuck);
    }
}
