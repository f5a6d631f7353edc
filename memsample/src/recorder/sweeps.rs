//! What the sampling thread hands to the writing threads of all sessions.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::schedule::Due;
use super::usage::SamplingUsage;
use crate::batch::Batch;
use crate::identity::Identity;

/// What waits for the writing thread of a session, at most. At two a second it may stand still for a
/// quarter of a minute before a sample is dropped.
pub(super) const QUEUE: usize = 32;

/// The sessions of a shared sampler, in the order in which they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionNumber(pub(super) u64);

/// Sweeps in their order, and which of them are ticks of which session.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// In the time of the sampler; a session has its own.
    pub(super) batch: Batch,
    /// Of each exit in the batch, the image that ended.
    pub(super) ended: Vec<EndedIdentity>,
    /// The forks that the kernel reported, in their order.
    pub(super) forks: Vec<ReportedFork>,
    /// Those of processes of which nothing else is known: neither a sample nor an exit record.
    pub(super) unseen: Vec<ReportedFork>,
    /// In the order of the ticks.
    pub(super) due: Vec<SessionTick>,
    /// Whether the changes of the last tick are all that there is, so that who knows nothing can begin
    /// with it.
    pub(super) is_state: bool,
    /// Whether forks are missing before its last tick, because there was no room for them.
    pub(super) lacks_forks: bool,
}

/// An image that ended.
#[derive(Clone, Debug)]
pub(super) struct EndedIdentity {
    pub(super) identity: Arc<Identity>,
    /// The ancestors behind its parent that were never sampled, as far as the kernel reported them.
    pub(super) ancestors: Vec<i32>,
}

/// A fork that the kernel reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReportedFork {
    /// The tick before which it was reported.
    pub(super) ts_ms: i64,
    pub(super) parent: i32,
    pub(super) pid: i32,
    /// When it was forked, since boot.
    pub(super) boot_ns: u64,
}

/// A sweep that is a tick of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionTick {
    pub(super) session: SessionNumber,
    /// Which of the ticks in the batch.
    pub(super) tick: usize,
    pub(super) due: Due,
    pub(super) asked: Asked,
}

/// What a session wanted to be read at a tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) detail: bool,
    pub(super) pss: bool,
    pub(super) meminfo: bool,
    pub(super) swap: bool,
    pub(super) cgroups: bool,
    /// Whether nobody else is there who could have wanted anything.
    pub(super) alone: bool,
}

impl Asked {
    /// Adds what another session asks for.
    pub(super) fn add(&mut self, other: Self) {
        self.detail |= other.detail;
        self.pss |= other.pss;
        self.meminfo |= other.meminfo;
        self.swap |= other.swap;
        self.cgroups |= other.cgroups;
    }
}

impl Sweeps {
    pub(super) fn clear(&mut self) {
        self.batch.clear();
        self.ended.clear();
        self.forks.clear();
        self.unseen.clear();
        self.due.clear();
        self.is_state = false;
        self.lacks_forks = false;
    }
}

/// What a session's queue holds.
pub(super) enum SessionMessage {
    Sweeps(Arc<SharedSweeps>),
    /// The last one.
    End {
        /// Ticks whose samples found no room in the queue.
        rest: Box<Sweeps>,
        usage: Box<SamplingUsage>,
    },
}

impl SessionMessage {
    pub(super) fn into_usage(self) -> Option<Box<SamplingUsage>> {
        match self {
            Self::Sweeps(_) => None,
            Self::End { usage, .. } => Some(usage),
        }
    }
}

/// Sweeps on their way to several sessions. The last one to let go sends the memory back.
pub(super) struct SharedSweeps {
    sweeps: Sweeps,
    pool: Sender<Sweeps>,
}

impl SharedSweeps {
    pub(super) fn new(sweeps: Sweeps, pool: Sender<Sweeps>) -> Arc<Self> {
        Arc::new(Self { sweeps, pool })
    }

    pub(super) fn sweeps(&self) -> &Sweeps {
        &self.sweeps
    }
}

impl Drop for SharedSweeps {
    fn drop(&mut self) {
        let mut sweeps = std::mem::take(&mut self.sweeps);
        sweeps.clear();
        // A pool that is full has enough.
        let _ = self.pool.try_send(sweeps);
    }
}
