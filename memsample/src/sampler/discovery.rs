//! Finding processes without listing `/proc` at every tick, which would cost as much as reading them.
//!
//! The kernel counts pids up, and prints the last one in `loadavg`. While it stays the same no process
//! has begun. When it moved a little, the pids between are tried; when it moved much, or after a
//! while, `/proc` is listed. A tree of another pid namespace, on disk, or with a `loadavg` that is not the
//! kernel's, is listed at every sweep.
//!
//! Where the kernel reports forks, those are followed instead: see [`fork_tracker`](super::fork_tracker).

use std::ffi::CStr;

use super::candidate::Candidate;
use super::entry::EntryState;
use super::processes::Processes;
use crate::proc::{Listing, MachineFile};

/// After this time `/proc` is listed even if no pid was given: `clone3` can choose a pid, and a
/// process that was checkpointed elsewhere is restored so. The kernel threads are looked at, too: one
/// may have become a user's program (a helper such as modprobe).
const RELIST_NS: u64 = 10_000_000_000;

/// The same for the kernel threads of a tree whose last pid is not known.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;

/// Trying a pid costs about as much as four entries of a listing.
const LISTED_ENTRIES_PER_TRY: usize = 4;

/// Holds the pid that was given last.
const LOADAVG: &CStr = c"loadavg";

/// Finds processes by the pids that the kernel gave, and by listing the tree.
pub(super) struct Discovery {
    listing: Listing,
    loadavg: MachineFile,
    /// The pid that the kernel gave last, as of the sweep before.
    last_pid: Option<i32>,
    listed_boot_ns: u64,
    looked_again_boot_ns: u64,
    /// Memory for the pids that a listing shows for the first time.
    newcomers: Vec<i32>,
}

/// The forks that the kernel has reported, for a listing.
pub(super) trait KnownForks {
    /// Takes in what the kernel has reported up to now.
    fn catch_up(&mut self, processes: &mut Processes);
    /// Returns the process that forked a process, and its execs since.
    fn parent_and_execs_of(&self, pid: i32) -> (Option<i32>, u32);
    /// Forgets a fork: the process has an entry.
    fn forget(&mut self, pid: i32);
}

impl Discovery {
    /// Lists with the memory of `listing`, for about so many processes.
    pub(super) fn new(listing: Listing, processes: usize) -> Self {
        Self {
            listing,
            loadavg: MachineFile::new(LOADAVG),
            last_pid: None,
            listed_boot_ns: 0,
            looked_again_boot_ns: 0,
            newcomers: Vec::with_capacity(2 * processes),
        }
    }

    /// Looks for the pids that the kernel gave since the last sweep.
    pub(super) fn discover(&mut self, processes: &mut Processes, now_ns: u64) {
        let last_pid = self.read_last_pid(processes);
        let given = match (self.last_pid, last_pid) {
            (Some(before), Some(now)) => Some(GivenPids { before, last: now }),
            _ => None,
        };
        self.last_pid = last_pid;
        let look_again_ns = if given.is_some() { RELIST_NS } else { LOOK_AGAIN_NS };
        if now_ns >= self.looked_again_boot_ns.saturating_add(look_again_ns) {
            self.looked_again_boot_ns = now_ns;
            processes.look_again(|_| true);
        }
        let relist = now_ns >= self.listed_boot_ns.saturating_add(RELIST_NS);
        match given {
            Some(given) if !relist && given.are_few(processes.entries.len()) => {
                self.try_pids(processes, given)
            }
            _ => {
                self.listed_boot_ns = now_ns;
                if let Some(given) = given {
                    processes.look_again(|pid| given.contains(pid));
                }
                self.list(processes, None);
            }
        }
    }

    /// Reads the pid that was given last, where it belongs to this tree and the kernel says it: what a container has in
    /// place of the file may say anything, and it need not change when a process begins.
    fn read_last_pid(&mut self, processes: &mut Processes) -> Option<i32> {
        if !processes.reader.root.shares_pid_namespace()
            || !self.loadavg.is_of_the_kernel(&processes.reader.root)
        {
            return None;
        }
        let bytes = self.loadavg.read(&processes.reader.root, &mut processes.reader.buffer).ok()?;
        let text = std::str::from_utf8(bytes).ok()?;
        text.split_ascii_whitespace().nth(4)?.parse().ok()
    }

    /// Looks at the pids that were given, and at those whose process ended in the last sweep.
    fn try_pids(&mut self, processes: &mut Processes, given: GivenPids) {
        let known = processes.entries.len();
        let mut pids = std::mem::take(&mut self.newcomers);
        pids.append(&mut processes.suspects);
        pids.retain(|&pid| !given.contains(pid));
        pids.extend(given.before + 1..=given.last);
        for pid in pids.drain(..) {
            let entries = processes.entries.get(..known).unwrap_or_default();
            let index = entries.partition_point(|entry| entry.pid < pid);
            if entries.get(index).is_none_or(|entry| entry.pid != pid)
                || processes.is_replaced(index)
            {
                // Threads have pids too.
                processes.track(pid, Candidate::ProcessOrThread);
            }
        }
        self.newcomers = pids;
        processes.sort_if_grown(known);
    }

    /// Lists the tree: what is listed and not known is new, what is known and not listed has ended.
    pub(super) fn list(
        &mut self,
        processes: &mut Processes,
        mut forks: Option<&mut dyn KnownForks>,
    ) {
        processes.suspects.clear();
        let known = processes.entries.len();
        let Ok(pids) = self.listing.read(processes.reader.root.directory()) else {
            // The directory is gone, or unmounted. What was open can still be read.
            processes.counts.unreadable += 1;
            return;
        };
        let mut entries = processes.entries.iter_mut().peekable();
        let mut newcomers = std::mem::take(&mut self.newcomers);
        for &pid in pids {
            while let Some(unlisted) = entries.next_if(|entry| entry.pid < pid) {
                unlisted.state |= EntryState::GONE;
            }
            match entries.next_if(|entry| entry.pid == pid) {
                Some(entry) if !entry.state.contains(EntryState::GONE) => {}
                _ => newcomers.push(pid),
            }
        }
        entries.for_each(|unlisted| unlisted.state |= EntryState::GONE);
        if let Some(forks) = forks.as_deref_mut() {
            // The kernel has reported by now what was forked before its pid was listed. Without this, an
            // orphan would have the parent that adopted it.
            forks.catch_up(processes);
        }
        for pid in newcomers.drain(..) {
            let (parent, execs) =
                forks.as_deref().map_or((None, 0), |forks| forks.parent_and_execs_of(pid));
            let tracked = processes.track(pid, Candidate::Listed { parent, execs });
            if tracked && let Some(forks) = forks.as_deref_mut() {
                forks.forget(pid);
            }
        }
        self.newcomers = newcomers;
        processes.sort_if_grown(known);
    }
}

/// The pids that the kernel gave to processes and threads between two readings of `loadavg`.
#[derive(Clone, Copy)]
struct GivenPids {
    before: i32,
    last: i32,
}

impl GivenPids {
    /// Returns whether trying each of them costs less than a listing of that many entries.
    fn are_few(self, entries: usize) -> bool {
        // Negative when the count began again from below.
        usize::try_from(self.last - self.before)
            .is_ok_and(|pids| pids * LISTED_ENTRIES_PER_TRY <= entries)
    }

    fn contains(self, pid: i32) -> bool {
        if self.before <= self.last {
            (self.before + 1..=self.last).contains(&pid)
        } else {
            pid > self.before || pid <= self.last
        }
    }
}
