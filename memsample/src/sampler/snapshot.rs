//! What a caller sees of a sweep.

use super::entry::Process;
use super::known_pss::known_pss;
use super::processes::Processes;
use crate::counts::SweepCounts;
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metric};
use crate::schema::KnownPss;

/// One pass over all processes. Borrows the sampler, whose memory it is.
pub struct Snapshot<'a> {
    processes: &'a Processes,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(processes: &'a Processes) -> Self {
        Self { processes }
    }

    /// Returns the processes that were read, ascending by pid.
    pub fn samples(&self) -> impl Iterator<Item = Sample<'a>> + use<'a> {
        let read = self.processes.entries.iter().filter(|entry| !entry.read.is_empty());
        read.filter_map(|entry| Some(Sample { process: entry.process()?, read: entry.read }))
    }

    /// Returns what the sweep did and did not read.
    #[must_use]
    pub fn counts(&self) -> SweepCounts {
        self.processes.counts()
    }

    /// Returns what is known of the PSS of all processes together, also from earlier sweeps; `None`
    /// where this kernel has no `smaps_rollup`.
    #[must_use]
    pub fn known_pss(&self) -> Option<KnownPss> {
        known_pss(self.processes)
    }
}

/// One process at one instant.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    process: &'a Process,
    read: Files,
}

impl<'a> Sample<'a> {
    /// Returns the number of the process image, which no other image of this sampler has.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process.identity.process
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.identity.pid
    }

    /// Returns the command name, as it was when `stat` was last read.
    #[must_use]
    pub fn comm(&self) -> Comm {
        self.process.comm
    }

    /// Returns what is known of the process; its user, control group, arguments and role as of the last look at them.
    #[must_use]
    pub fn identity(&self) -> &'a Identity {
        &self.process.identity
    }

    /// Returns the files that were read for this sample.
    #[must_use]
    pub fn files(&self) -> Files {
        self.read
    }

    /// Returns the value of `metric`, or `None` where its file was not read in this sweep.
    ///
    /// Memory in bytes, CPU times in nanoseconds, page faults in events.
    #[inline]
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<u64> {
        metric.is_in(self.read).then(|| self.process.metrics.get(metric))
    }

    /// Returns the resident set, which every sample has.
    ///
    /// Source: `statm`, or `VmRSS` of `status` where that was read. Shared pages count in full for
    /// every process that maps them, so a sum over processes is too large; PSS is what adds up.
    #[inline]
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.process.metrics.get(Metric::Rss)
    }
}
