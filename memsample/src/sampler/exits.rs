//! Which process image an exit record belongs to.

use std::sync::Arc;

use super::entry::EntryState;
use super::fork_tracker::{ForkTracker, UnseenProcess};
use super::processes::Processes;
use super::unmatched_exit::{LastLook, UnmatchedExit};
use crate::clock::Now;
use crate::events::TaskExit;
use crate::identity::Identity;
use crate::metric::{Metric, Metrics};
use crate::units::ClockTicks;

/// The clock tick, in which the start of a process is known, and the time between two clock readings.
const SLACK_NS: u64 = 20_000_000;

/// The process image that has ended.
pub(crate) struct EndedImage {
    pub(crate) identity: Arc<Identity>,
    /// Whether a batch has the identity.
    pub(crate) is_known: bool,
    /// What was last read of it; zeros of what was never read.
    pub(crate) metrics: Metrics,
    /// The ancestors behind its parent, up to the first that was looked at, the nearest first, where the
    /// kernel reported their forks; empty where the parent was looked at.
    pub(crate) ancestors: Vec<i32>,
}

impl EndedImage {
    /// Returns the larger of what was read of a counter and what the record says.
    pub(crate) fn at_least(&self, metric: Metric, recorded: u64) -> u64 {
        self.metrics.get(metric).max(recorded)
    }
}

/// Finds the images that exit records belong to.
pub(super) struct ExitMatcher<'a> {
    pub(super) processes: &'a mut Processes,
    pub(super) forks: Option<&'a mut ForkTracker>,
}

impl ExitMatcher<'_> {
    /// Finds the image of a process that has ended, or makes one where it was never sampled.
    ///
    /// The pid may have been given again. Who was seen in a sweep has lived at least until then, and
    /// who got the pid afterwards has not.
    pub(super) fn image_that_ended(&mut self, exit: &TaskExit, now: &Now) -> EndedImage {
        let lived_ns = exit.process_lived_us.saturating_mul(1000);
        // The record does not count the time that the machine was suspended.
        let slack_ns = SLACK_NS + now.boot_ns.saturating_sub(now.monotonic_ns);
        let lived_until = |alive_boot_ns: u64, start_ns: u64| {
            lived_ns.saturating_add(slack_ns) >= alive_boot_ns.saturating_sub(start_ns)
        };
        if let Some(unmatched) = &mut self.processes.unmatched_exits
            && let Some(place) = unmatched.iter().position(|end| {
                end.pid == exit.pid && lived_until(end.alive_boot_ns, end.identity.start_ns)
            })
        {
            let UnmatchedExit { identity, is_known, metrics, last_look, .. } =
                unmatched.swap_remove(place);
            if last_look.missed_a_program(exit) {
                return self.unseen_program(exit, &identity, last_look.execs_since, metrics);
            }
            return EndedImage { identity, is_known, metrics, ancestors: Vec::new() };
        }
        let index = self.processes.entries.partition_point(|entry| entry.pid < exit.pid);
        if let Some(entry) = self.processes.entries.get_mut(index)
            && entry.pid == exit.pid
            && !entry.state.contains(EntryState::EXIT_KNOWN)
            && let Some(process) = entry.process()
            && lived_until(self.processes.swept_before_boot_ns, process.identity.start_ns)
        {
            let (identity, metrics) = (Arc::clone(&process.identity), process.metrics);
            let last_look = LastLook::of(process);
            let is_known = entry.state.contains(EntryState::IDENTITY_REPORTED);
            entry.state |= EntryState::EXIT_KNOWN;
            if last_look.missed_a_program(exit) {
                return self.unseen_program(exit, &identity, last_look.execs_since, metrics);
            }
            return EndedImage { identity, is_known, metrics, ancestors: Vec::new() };
        }
        // Exact where the kernel reported the fork, else as late as the record was read.
        let fork = self.forks.as_mut().and_then(|forks| forks.claim(exit, now));
        let UnseenProcess { parent, start_ns, execs } = fork.unwrap_or(UnseenProcess {
            parent: exit.ppid,
            start_ns: now.boot_ns.saturating_sub(lived_ns),
            execs: 0,
        });
        self.unseen_image(exit, parent, start_ns, execs)
    }

    /// Makes an image of the program that a process began after its last image was looked at, and that
    /// has ended since: the mark in the record is its own.
    fn unseen_program(
        &mut self,
        exit: &TaskExit,
        before: &Identity,
        execs_since: u32,
        metrics: Metrics,
    ) -> EndedImage {
        let unseen = self.unseen_image(exit, before.ppid, before.start_ns, 0);
        let identity = Identity {
            start: before.start,
            exec: before.exec.saturating_add(execs_since),
            ..Identity::clone(&unseen.identity)
        };
        EndedImage { identity: Arc::new(identity), metrics, ..unseen }
    }

    fn unseen_image(&mut self, exit: &TaskExit, ppid: i32, start_ns: u64, exec: u32) -> EndedImage {
        let ticks_per_second = u128::from(self.processes.reader.host.ticks_per_second.get());
        let start = u128::from(start_ns) * ticks_per_second / 1_000_000_000;
        let identity = Identity {
            process: self.processes.slots.next_process(),
            pid: exit.pid,
            start: ClockTicks(u64::try_from(start).unwrap_or(u64::MAX)),
            start_ns,
            exec,
            ppid,
            uid: Some(exit.uid),
            comm: exit.comm,
            exe: None,
            cmdline: Vec::new(),
            cgroup: None,
            moved: false,
            role: self.processes.reader.rules.role(&exit.comm, None, b"", None),
            replaced_max_rss_bytes: None,
            memory_map: None,
        };
        let identity = Arc::new(identity);
        let ancestors = self.forks.as_ref().map_or(Vec::new(), |forks| forks.ancestors_of(ppid));
        EndedImage { identity, is_known: false, metrics: Metrics::default(), ancestors }
    }
}
