//! Finds processes by what the kernel reports: no listing, the parent that forked them, and every exec.

use std::collections::HashMap;

use super::candidate::Candidate;
use super::discovery::{Discovery, KnownForks};
use super::entry::Entry;
use super::processes::{Processes, SLACK_NS};
use super::redescription::{note_name, note_user};
use crate::clock::Now;
use crate::events::{EventKind, KTHREADD, ProcessEvent, ProcessEvents, TaskExit};

/// `/proc` is listed after this time nevertheless: another program may have switched the reports off,
/// which before Linux 6.6 holds for all.
const RELIST_NS: u64 = 10_000_000_000;
/// Forks between two ticks, at most; a listing finds the rest.
const MAX_FORKS: usize = 64 * 1024;
/// Forks that wait to be taken out, at most: those of a storm between two ticks.
const MAX_REPORTS: usize = 4 * MAX_FORKS;
/// Generations between two sweeps that are followed, at most.
const MAX_ANCESTORS: usize = 64;
/// A fork whose end or record has not come after so many sweeps is not waited for.
const MAX_AGE: u8 = 2;
/// A process that a listing finds this long after it began should have been reported.
const REPORTED_WITHIN_NS: u64 = 1_000_000_000;

/// Finds processes by the events of the kernel.
pub(super) struct ForkTracker {
    events: ProcessEvents,
    /// Processes that began since the last sweep, and those of which not all is known yet.
    recent: HashMap<i32, Fork>,
    /// Pids to look at in the next sweep.
    pending: Vec<i32>,
    /// All forks in their order, until they are taken out.
    reported: Vec<ForkReport>,
    /// Those of which nothing else became known, likewise.
    unseen: Vec<ForkReport>,
    /// Events that were lost and not yet made up for.
    lost: u32,
    /// Pids whose exit record came before the report of the fork, and when that was.
    early: Vec<(i32, u64)>,
    /// `None` before the first listing.
    listed_boot_ns: Option<u64>,
    /// When the present sweep began.
    swept_boot_ns: u64,
    drained_boot_ns: u64,
    /// How often events were drained.
    drains: u64,
}

/// What the kernel reported of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkReport {
    /// The process that forked it.
    pub(crate) parent: i32,
    pub(crate) pid: i32,
    /// When it was forked, since boot.
    pub(crate) boot_ns: u64,
}

/// A fork that the kernel reported.
struct Fork {
    /// The process that forked it.
    parent: i32,
    /// When it was forked, since boot.
    boot_ns: u64,
    threads: u32,
    /// Execs since then.
    execs: u32,
    /// The draining that brought the end of its last thread.
    ended_in: Option<u64>,
    /// Sweeps since then.
    age: u8,
}

/// A process that exited without being sampled, as its fork shows it.
pub(super) struct UnseenProcess {
    pub(super) parent: i32,
    pub(super) start_ns: u64,
    /// The execs that were reported of it.
    pub(super) execs: u32,
}

impl Fork {
    fn new(parent: i32, boot_ns: u64) -> Self {
        Self { parent, boot_ns, threads: 1, execs: 0, ended_in: None, age: 0 }
    }
}

impl ForkTracker {
    pub(super) fn new(events: ProcessEvents) -> Self {
        Self {
            events,
            recent: HashMap::new(),
            pending: Vec::new(),
            reported: Vec::new(),
            unseen: Vec::new(),
            lost: 0,
            early: Vec::new(),
            listed_boot_ns: None,
            swept_boot_ns: 0,
            drained_boot_ns: 0,
            drains: 0,
        }
    }

    /// Returns the parent of a process that was not looked at, the parent of that, and so on.
    pub(super) fn ancestors_of(&self, pid: i32) -> Vec<i32> {
        let mut ancestors = Vec::new();
        let mut at = pid;
        while let Some(parent) =
            self.parent_and_execs_of(at).0.filter(|_| ancestors.len() < MAX_ANCESTORS)
        {
            ancestors.push(parent);
            at = parent;
        }
        ancestors
    }

    /// Takes out the fork that an exit record is of.
    ///
    /// The record of a process that had the pid before shows a longer life.
    pub(super) fn claim(&mut self, exit: &TaskExit, now: &Now) -> Option<UnseenProcess> {
        let lived_ns = exit.process_lived_us.saturating_mul(1000);
        let latest_end_ns = now.boot_ns.saturating_add(SLACK_NS);
        let claimed = self.recent.remove_entry(&exit.pid).and_then(|(pid, fork)| {
            if fork.boot_ns.saturating_add(lived_ns) <= latest_end_ns {
                let Fork { parent, boot_ns: start_ns, execs, .. } = fork;
                return Some(UnseenProcess { parent, start_ns, execs });
            }
            self.recent.insert(pid, fork);
            None
        });
        if claimed.is_none() && self.early.len() < MAX_FORKS {
            self.early.push((exit.pid, now.boot_ns));
        }
        claimed
    }

    /// Forgets forks that have ended or are too old, and returns how many of them were processes of
    /// which nothing else is known.
    pub(super) fn settle(&mut self, recorded: u64) -> u32 {
        let Self { recent, early, swept_boot_ns, unseen: reports, .. } = self;
        let mut unseen = 0;
        recent.retain(|&pid, fork| {
            fork.age += 1;
            // The record of an end comes before its report.
            let is_over = fork.ended_in.is_some_and(|drain| drain <= recorded);
            if !is_over && fork.age <= MAX_AGE {
                return true;
            }
            let is_kernel_thread = fork.parent == KTHREADD && fork.execs == 0;
            let is_recorded =
                |(of, at): &(i32, u64)| *of == pid && at.saturating_add(SLACK_NS) >= fork.boot_ns;
            if !is_kernel_thread && !early.iter().any(is_recorded) {
                unseen += 1;
                let Fork { parent, boot_ns, .. } = *fork;
                if reports.len() < MAX_REPORTS {
                    reports.push(ForkReport { parent, pid, boot_ns });
                }
            }
            false
        });
        // Forks up to the present sweep have been reported by now.
        early.retain(|(_, at)| at >= swept_boot_ns);
        unseen
    }

    /// Brings the entries up to date with what the kernel reported since the last sweep.
    pub(super) fn discover(
        &mut self,
        processes: &mut Processes,
        discovery: &mut Discovery,
        now: &Now,
    ) {
        self.swept_boot_ns = now.boot_ns;
        self.drain(processes, now);
        let known = processes.entries.len();
        let mut pids = std::mem::take(&mut self.pending);
        pids.append(&mut processes.suspects);
        pids.sort_unstable();
        pids.dedup();
        for pid in pids.drain(..) {
            let fork = self.recent.get(&pid);
            if fork.is_some_and(|fork| fork.threads == 0) {
                continue;
            }
            let fork_boot_ns = fork.map(|fork| fork.boot_ns);
            let parent = fork.map(|fork| fork.parent);
            let execs = fork.map_or(0, |fork| fork.execs);
            if !processes.has_place_for(pid, known, fork_boot_ns)
                || processes.track(pid, Candidate::Reported { parent, execs })
            {
                self.forget(pid);
            }
        }
        self.pending = pids;
        processes.sort_if_grown(known);
        let lost = std::mem::take(&mut self.lost);
        processes.counts.events_lost += lost;
        self.list_if_missed(processes, discovery, now, lost > 0);
        self.drained_boot_ns = now.boot_ns;
    }

    /// Takes in what the kernel has reported up to now, and returns the number of this draining.
    pub(super) fn drain(&mut self, processes: &mut Processes, now: &Now) -> u64 {
        // The time suspended; in a time namespace, the clocks may be any time apart.
        let boot_less_monotonic_ns = now.boot_ns.wrapping_sub(now.monotonic_ns);
        self.drains += 1;
        let ForkTracker { events, recent, pending, reported, drains, .. } = self;
        let mut not_kept = 0;
        let lost = events.drain(|ProcessEvent { monotonic_ns, kind }| {
            let boot_ns = monotonic_ns.wrapping_add(boot_less_monotonic_ns);
            match kind {
                EventKind::Fork { parent, tid, pid } if tid == pid => {
                    match reported.len() < MAX_REPORTS {
                        true => reported.push(ForkReport { parent, pid, boot_ns }),
                        false => not_kept += 1,
                    }
                    if recent.len() >= MAX_FORKS && !recent.contains_key(&pid) {
                        not_kept += 1;
                        return;
                    }
                    pending.push(pid);
                    recent.insert(pid, Fork::new(parent, boot_ns));
                }
                EventKind::Fork { pid, .. } => {
                    if let Some(fork) = recent.get_mut(&pid) {
                        fork.threads = fork.threads.saturating_add(1);
                    }
                }
                EventKind::Exit { pid } => {
                    if let Some(fork) = recent.get_mut(&pid) {
                        fork.threads = fork.threads.saturating_sub(1);
                        fork.ended_in = (fork.threads == 0).then_some(*drains);
                    }
                }
                EventKind::Exec { pid } => match recent.get_mut(&pid) {
                    Some(fork) => fork.execs = fork.execs.saturating_add(1),
                    None if processes.note_exec(pid, boot_ns) => {}
                    None => pending.push(pid),
                },
                // What is still to be looked at will be as it is then; who had the pid before has not changed.
                EventKind::Rename { pid, .. } | EventKind::User { pid, .. }
                    if recent.contains_key(&pid) => {}
                EventKind::Rename { tid, pid, comm } if tid == pid => {
                    if let Some(entry) = processes.entry_of(pid) {
                        note_name(entry, comm);
                    }
                }
                EventKind::User { tid, pid, uid } if tid == pid => {
                    if let Some(entry) = processes.entry_of(pid) {
                        note_user(entry, uid);
                    }
                }
                // Of another thread than the first.
                EventKind::Rename { .. } | EventKind::User { .. } => {}
            }
        });
        self.lost = self.lost.saturating_add(lost).saturating_add(not_kept);
        self.drains
    }

    /// Takes out the forks since the last call, in their order, and those of which nothing else became known.
    pub(super) fn take_reports(
        &mut self,
    ) -> (std::vec::Drain<'_, ForkReport>, std::vec::Drain<'_, ForkReport>) {
        (self.reported.drain(..), self.unseen.drain(..))
    }

    /// Lists `/proc` where something may have been missed.
    fn list_if_missed(
        &mut self,
        processes: &mut Processes,
        discovery: &mut Discovery,
        now: &Now,
        lost: bool,
    ) {
        let is_first = self.listed_boot_ns.is_none();
        let relist = self
            .listed_boot_ns
            .is_none_or(|listed_ns| now.boot_ns >= listed_ns.saturating_add(RELIST_NS));
        if !relist && !lost {
            return;
        }
        self.listed_boot_ns = Some(now.boot_ns);
        if relist {
            // Those of which no descriptor is kept: threads of the kernel, and who may not be looked at.
            processes.look_again(|_| true);
        }
        let newest = processes.slots.newest();
        discovery.list(processes, Some(self));
        if is_first || lost {
            return;
        }
        let reported_before_ns = self.drained_boot_ns.saturating_sub(REPORTED_WITHIN_NS);
        let found = processes.entries.iter().filter_map(Entry::process);
        let unreported = found
            .filter(|process| process.identity.process > newest)
            .filter(|process| process.identity.start_ns < reported_before_ns)
            .count();
        if unreported > 0 {
            processes.counts.events_lost += u32::try_from(unreported).unwrap_or(u32::MAX);
            // If this fails too, the listing still finds new processes.
            let _ = self.events.listen();
        }
    }
}

impl KnownForks for ForkTracker {
    fn catch_up(&mut self, processes: &mut Processes) {
        let now = processes.reader.clock.now();
        self.drain(processes, &now);
    }

    fn parent_and_execs_of(&self, pid: i32) -> (Option<i32>, u32) {
        self.recent.get(&pid).map_or((None, 0), |fork| (Some(fork.parent), fork.execs))
    }

    fn forget(&mut self, pid: i32) {
        self.recent.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Files, Sampler, SamplerOptions};

    #[test]
    fn what_was_reported_is_forgotten_when_it_is_over() {
        let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
        if let Err(error) = sampler.follow_process_events() {
            assert!(error.to_string().contains("does not report forks"));
            return;
        }
        sampler.sweep(Files::STATM);
        let pids: Vec<i32> = (0..50)
            .map(|_| {
                let mut child = std::process::Command::new("true").spawn().unwrap();
                child.wait().unwrap();
                child.id().cast_signed()
            })
            .collect();
        sampler.sweep(Files::STATM);
        let tracked = |sampler: &Sampler| {
            let recent = &sampler.forks.as_ref().unwrap().recent;
            pids.iter().filter(|pid| recent.contains_key(pid)).count()
        };
        assert_eq!(tracked(&sampler), pids.len());
        for _ in 0..=super::MAX_AGE {
            sampler.sweep(Files::STATM);
        }
        assert_eq!(tracked(&sampler), 0);
    }
}
