//! Finding processes by what the kernel tells of them: no listing, the parent that forked them, and
//! every exec.

use std::collections::HashMap;
use std::io;

use super::Sampler;
use super::discovery::Candidate;
use super::entry::{Entry, EntryState, Occupant};
use crate::clock::Now;
use crate::events::{EventKind, ProcessEvent, ProcessEvents, TaskExit};
use crate::identity::Comm;

/// `/proc` is listed after this time nevertheless: another program may have told the kernel to be silent,
/// which before Linux 6.6 holds for all.
const RELIST_NS: u64 = 10_000_000_000;
/// Births between two ticks, at most; of more the rest is found by a listing.
const MAX_BIRTHS: usize = 64 * 1024;
/// Generations between two sweeps that are followed, at most.
const MAX_ANCESTORS: usize = 64;
/// A birth whose end or record has not come after so many sweeps is not waited for.
const MAX_AGE: u8 = 2;
/// The start of a process in `stat` is up to one clock tick before its fork is told.
const SLACK_NS: u64 = 20_000_000;
/// A process that a listing finds this long after it began should have been told of.
const TOLD_WITHIN_NS: u64 = 1_000_000_000;
/// The first process of the kernel's own threads.
const KTHREADD: i32 = 2;

/// EventKind is heard of the kernel.
pub(super) struct Births {
    events: ProcessEvents,
    /// Processes that began since the last sweep, and those of which not all is known yet.
    recent: HashMap<i32, Birth>,
    /// Pids to look at in the next sweep.
    pending: Vec<i32>,
    /// Events that were lost and not yet made up for.
    lost: u32,
    /// Pids whose exit record came before the birth was told, and when that was.
    early: Vec<(i32, u64)>,
    /// `None` before the first listing.
    listed_boot_ns: Option<u64>,
    /// When the present sweep began.
    swept_boot_ns: u64,
    heard_boot_ns: u64,
}

/// A process that began.
struct Birth {
    /// The process that forked it.
    parent: i32,
    /// When it was forked, since boot.
    boot_ns: u64,
    threads: u32,
    has_begun_a_program: bool,
    /// Sweeps since then.
    age: u8,
}

/// EventKind the birth of a process tells of it that has ended without being looked at.
pub(super) struct BriefLife {
    pub(super) parent: i32,
    pub(super) start_ns: u64,
}

impl Birth {
    fn new(parent: i32, boot_ns: u64) -> Self {
        Self { parent, boot_ns, threads: 1, has_begun_a_program: false, age: 0 }
    }
}

impl Births {
    pub(super) fn new(events: ProcessEvents) -> Self {
        Self {
            events,
            recent: HashMap::new(),
            pending: Vec::new(),
            lost: 0,
            early: Vec::new(),
            listed_boot_ns: None,
            swept_boot_ns: 0,
            heard_boot_ns: 0,
        }
    }

    /// Forgets a birth: the process has an entry.
    pub(super) fn forget(&mut self, pid: i32) {
        self.recent.remove(&pid);
    }

    pub(super) fn parent_of(&self, pid: i32) -> Option<i32> {
        self.recent.get(&pid).map(|birth| birth.parent)
    }

    /// Returns the parent of a process that was not looked at, the parent of that, and so on.
    pub(super) fn ancestors_of(&self, pid: i32) -> Vec<i32> {
        let mut ancestors = Vec::new();
        let mut at = pid;
        while let Some(parent) = self.parent_of(at).filter(|_| ancestors.len() < MAX_ANCESTORS) {
            ancestors.push(parent);
            at = parent;
        }
        ancestors
    }

    /// Takes out the birth that an exit record is of.
    ///
    /// The record of who had the pid before tells of a longer life.
    pub(super) fn claim(&mut self, exit: &TaskExit, now: &Now) -> Option<BriefLife> {
        let lived_ns = exit.process_lived_us.saturating_mul(1000);
        let latest_end_ns = now.boot_ns.saturating_add(SLACK_NS);
        let claimed = self.recent.remove_entry(&exit.pid).and_then(|(pid, birth)| {
            if birth.boot_ns.saturating_add(lived_ns) <= latest_end_ns {
                return Some(BriefLife { parent: birth.parent, start_ns: birth.boot_ns });
            }
            self.recent.insert(pid, birth);
            None
        });
        if claimed.is_none() && self.early.len() < MAX_BIRTHS {
            self.early.push((exit.pid, now.boot_ns));
        }
        claimed
    }

    /// Forgets births that have ended or are too old, and returns how many of them were processes of
    /// which nothing else is known.
    fn settle(&mut self) -> u32 {
        let Self { recent, early, swept_boot_ns, .. } = self;
        let mut unseen = 0;
        recent.retain(|&pid, birth| {
            birth.age += 1;
            if birth.threads > 0 && birth.age <= MAX_AGE {
                return true;
            }
            let is_kernel_thread = birth.parent == KTHREADD && !birth.has_begun_a_program;
            let is_recorded =
                |(of, at): &(i32, u64)| *of == pid && at.saturating_add(SLACK_NS) >= birth.boot_ns;
            unseen += u32::from(!is_kernel_thread && !early.iter().any(is_recorded));
            false
        });
        // Births up to the present sweep have been told by now.
        early.retain(|(_, at)| at >= swept_boot_ns);
        unseen
    }
}

impl Sampler {
    /// Asks the kernel to tell of every fork, exec and exit, by the proc connector, instead of looking for
    /// new processes at each sweep: an exec that changes no number is seen too, and the parent of a
    /// process is the one that forked it.
    ///
    /// A process that lives between two sweeps is in none of them all the same.
    ///
    /// # Errors
    ///
    /// Why the kernel does not tell, as a sentence for a person: it takes `CAP_NET_ADMIN`, and a program
    /// outside of containers. The sampler goes on as before.
    pub fn follow_births(&mut self) -> io::Result<()> {
        let events = ProcessEvents::open().map_err(io::Error::other)?;
        self.follow_events(events);
        Ok(())
    }

    /// Begins to follow what the kernel tells.
    pub(crate) fn follow_events(&mut self, events: ProcessEvents) {
        self.births = Some(Births::new(events));
    }

    /// Forgets births of which no more will be told, and returns how many of those processes were not
    /// seen: neither sampled nor with an exit record.
    pub(crate) fn settle_births(&mut self) -> u32 {
        self.births.as_mut().map_or(0, Births::settle)
    }

    /// Takes in what the kernel told up to now, so that the records of what has ended find its birth.
    pub(crate) fn hear_before_ends(&mut self, now: &Now) {
        if let Some(mut births) = self.births.take() {
            self.hear_events(&mut births, now);
            self.births = Some(births);
        }
    }

    /// Brings the entries up to date with what the kernel told since the last sweep.
    pub(super) fn discover_told(&mut self, births: &mut Births, now: &Now) {
        births.swept_boot_ns = now.boot_ns;
        self.hear_events(births, now);
        let known = self.entries.len();
        let mut pids = std::mem::take(&mut births.pending);
        pids.append(&mut self.suspects);
        pids.sort_unstable();
        pids.dedup();
        for pid in pids.drain(..) {
            let birth = births.recent.get(&pid);
            if birth.is_some_and(|birth| birth.threads == 0) {
                continue;
            }
            let fork_boot_ns = birth.map(|birth| birth.boot_ns);
            let parent = birth.map(|birth| birth.parent);
            if !self.has_place_for(pid, known, fork_boot_ns)
                || self.track(pid, Candidate::Told { parent })
            {
                births.forget(pid);
            }
        }
        births.pending = pids;
        self.sort_if_grown(known);
        let lost = std::mem::take(&mut births.lost);
        self.counts.events_lost += lost;
        self.heal(births, now, lost > 0);
        births.heard_boot_ns = now.boot_ns;
    }

    pub(super) fn hear_events(&mut self, births: &mut Births, now: &Now) {
        let suspended_ns = now.boot_ns.saturating_sub(now.monotonic_ns);
        let Births { events, recent, pending, .. } = births;
        let mut not_kept = 0;
        let lost = events.drain(|ProcessEvent { monotonic_ns, kind }| {
            let boot_ns = monotonic_ns.saturating_add(suspended_ns);
            match kind {
                EventKind::Fork { parent, tid, pid } if tid == pid => {
                    if recent.len() >= MAX_BIRTHS && !recent.contains_key(&pid) {
                        not_kept += 1;
                        return;
                    }
                    pending.push(pid);
                    recent.insert(pid, Birth::new(parent, boot_ns));
                }
                EventKind::Fork { pid, .. } => {
                    if let Some(birth) = recent.get_mut(&pid) {
                        birth.threads = birth.threads.saturating_add(1);
                    }
                }
                EventKind::Exit { pid } => {
                    if let Some(birth) = recent.get_mut(&pid) {
                        birth.threads = birth.threads.saturating_sub(1);
                    }
                }
                EventKind::Exec { pid } => match recent.get_mut(&pid) {
                    Some(birth) => birth.has_begun_a_program = true,
                    None if self.note_exec(pid, boot_ns) => {}
                    None => pending.push(pid),
                },
                EventKind::Rename { tid, pid, comm } => {
                    if tid == pid {
                        self.note_name(pid, comm);
                    }
                }
            }
        });
        births.lost = births.lost.saturating_add(lost).saturating_add(not_kept);
    }

    /// Lists `/proc` where something may have been missed.
    fn heal(&mut self, births: &mut Births, now: &Now, lost: bool) {
        let is_first = births.listed_boot_ns.is_none();
        let relist = births
            .listed_boot_ns
            .is_none_or(|listed_ns| now.boot_ns >= listed_ns.saturating_add(RELIST_NS));
        if !relist && !lost {
            return;
        }
        births.listed_boot_ns = Some(now.boot_ns);
        if relist {
            // Those of which no descriptor is kept: threads of the kernel, and who may not be looked at.
            self.look_again(|_| true);
        }
        let newest = self.slots.newest();
        self.list(Some(births));
        if is_first || lost {
            return;
        }
        let told_before_ns = births.heard_boot_ns.saturating_sub(TOLD_WITHIN_NS);
        let found = self.entries.iter().filter_map(Entry::process);
        let untold = found
            .filter(|process| process.identity.process > newest)
            .filter(|process| process.identity.start_ns < told_before_ns)
            .count();
        if untold > 0 {
            self.counts.events_lost += u32::try_from(untold).unwrap_or(u32::MAX);
            // Where this fails too, the listing goes on to find what begins.
            let _ = births.events.listen();
        }
    }

    /// Says whether `pid` is to be looked at: it has no entry, or that of a process that has ended,
    /// which is then marked so.
    fn has_place_for(&mut self, pid: i32, known: usize, fork_boot_ns: Option<u64>) -> bool {
        let entries = self.entries.get_mut(..known).unwrap_or_default();
        let index = entries.partition_point(|entry| entry.pid < pid);
        let Some(entry) = entries.get_mut(index).filter(|entry| entry.pid == pid) else {
            return true;
        };
        if entry.state.contains(EntryState::GONE) {
            return true;
        }
        match (&entry.occupant, fork_boot_ns) {
            (Occupant::Process(process), Some(fork_boot_ns)) => {
                // Found by a listing before its birth was told, or another that had the pid before.
                let start_ns = process.identity.start_ns;
                let same = start_ns.saturating_add(SLACK_NS) >= fork_boot_ns;
                entry.state.set(EntryState::GONE, !same);
                !same
            }
            // Its descriptor tells.
            (Occupant::Process(_) | Occupant::Zombie(_), None) => false,
            // Of these little is kept, so they are looked at anew.
            (Occupant::Zombie(_), Some(_)) | (Occupant::KernelThread(_) | Occupant::Denied, _) => {
                entry.state |= EntryState::GONE;
                true
            }
        }
    }

    /// Notes that a process that is known has begun another program, and returns whether it is known.
    fn note_exec(&mut self, pid: i32, boot_ns: u64) -> bool {
        let Some(entry) = self.entry_of(pid) else {
            return false;
        };
        let Some(process) = entry.process_mut() else {
            return false;
        };
        process.told_exec_boot_ns = boot_ns;
        // So that it is not taken for unchanged.
        entry.forget_statm();
        true
    }

    fn note_name(&mut self, pid: i32, comm: Comm) {
        if let Some(entry) = self.entry_of(pid)
            && let Some(process) = entry.process_mut()
            && process.comm != comm
        {
            process.comm = comm;
            entry.state.remove(EntryState::COMM_REPORTED);
        }
    }

    fn entry_of(&mut self, pid: i32) -> Option<&mut Entry> {
        let index = self.entries.partition_point(|entry| entry.pid < pid);
        self.entries.get_mut(index).filter(|entry| entry.pid == pid)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Files, Sampler, SamplerOptions};

    #[test]
    fn what_was_heard_is_forgotten_when_it_is_over() {
        let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
        if let Err(error) = sampler.follow_births() {
            assert!(error.to_string().contains("does not tell of processes that begin"));
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
        let heard = |sampler: &Sampler| {
            let recent = &sampler.births.as_ref().unwrap().recent;
            pids.iter().filter(|pid| recent.contains_key(pid)).count()
        };
        assert_eq!(heard(&sampler), pids.len());
        for _ in 0..=super::MAX_AGE {
            sampler.sweep(Files::STATM);
        }
        assert_eq!(heard(&sampler), 0);
    }
}
