//! Finding processes without listing `/proc` at every tick, which would cost as much as reading them.
//!
//! The kernel counts pids up, and prints the last one in `loadavg`. While it stays the same no process
//! has begun. When it moved a little, the pids between are tried; when it moved much, or after a
//! while, `/proc` is listed. A tree of another pid namespace, or on disk, is listed at every sweep.
//!
//! Where the kernel tells of what begins, that is followed instead: see [`births`](super::births).

use std::os::fd::OwnedFd;

use super::Sampler;
use super::births::Births;
use super::entry::{Addresses, Entry, EntryState, Occupant, Process};
use super::reading::{ImageDescription, Reader, read_file};
use crate::error::ReadError;
use crate::identity::{Comm, Identity};
use crate::parse::{parse_stat, parse_status};
use crate::proc::ProcessDir;

/// After this time `/proc` is listed even if no pid was given: `clone3` can choose a pid, and a
/// process that was checkpointed elsewhere is restored so. The kernel threads are looked at, too: one
/// may have become a user's program (a helper such as modprobe).
const RELIST_NS: u64 = 10_000_000_000;

/// The same for the kernel threads of a tree whose last pid is not known.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;

/// Trying a pid costs about as much as four entries of a listing.
const LISTED_ENTRIES_PER_TRY: usize = 4;

impl Sampler {
    /// Brings the entries up to date with the processes that there are.
    pub(super) fn discover(&mut self) {
        let now = self.reader.clock.now();
        let now_ns = now.boot_ns;
        self.swept_before_boot_ns = std::mem::replace(&mut self.swept_boot_ns, now_ns);
        // Taken out, so that the births and the entries can be changed independently.
        if let Some(mut births) = self.births.take() {
            self.discover_told(&mut births, &now);
            self.births = Some(births);
        } else {
            self.discover_given(now_ns);
        }
    }

    /// Looks for the pids that the kernel gave since the last sweep.
    fn discover_given(&mut self, now_ns: u64) {
        let last_pid = self.read_last_pid();
        let given = match (self.last_pid, last_pid) {
            (Some(before), Some(now)) => Some(GivenPids { before, last: now }),
            _ => None,
        };
        self.last_pid = last_pid;
        let look_again_ns = if given.is_some() { RELIST_NS } else { LOOK_AGAIN_NS };
        if now_ns >= self.looked_again_boot_ns.saturating_add(look_again_ns) {
            self.looked_again_boot_ns = now_ns;
            self.look_again(|_| true);
        }
        let relist = now_ns >= self.listed_boot_ns.saturating_add(RELIST_NS);
        match given {
            Some(given) if !relist && given.are_few(self.entries.len()) => self.try_pids(given),
            _ => {
                self.listed_boot_ns = now_ns;
                if let Some(given) = given {
                    self.look_again(|pid| given.contains(pid));
                }
                self.list(None);
            }
        }
    }

    /// Reads the pid that was given last, where it belongs to this tree.
    fn read_last_pid(&mut self) -> Option<i32> {
        if !self.reader.root.shares_pid_namespace() {
            return None;
        }
        let bytes = self.loadavg.read(&self.reader.root, &mut self.reader.buffer).ok()?;
        let text = std::str::from_utf8(bytes).ok()?;
        text.split_ascii_whitespace().nth(4)?.parse().ok()
    }

    /// Looks at the pids that were given, and at those whose process ended in the last sweep.
    fn try_pids(&mut self, given: GivenPids) {
        let known = self.entries.len();
        let mut pids = std::mem::take(&mut self.newcomers);
        pids.append(&mut self.suspects);
        pids.retain(|&pid| !given.contains(pid));
        pids.extend(given.before + 1..=given.last);
        for pid in pids.drain(..) {
            let entries = self.entries.get(..known).unwrap_or_default();
            let index = entries.partition_point(|entry| entry.pid < pid);
            if entries.get(index).is_none_or(|entry| entry.pid != pid) || self.is_replaced(index) {
                // Threads have pids too.
                self.track(pid, Candidate::ProcessOrThread);
            }
        }
        self.newcomers = pids;
        self.sort_if_grown(known);
    }

    /// Lists the tree: what is listed and not known is new, what is known and not listed has ended.
    pub(super) fn list(&mut self, mut births: Option<&mut Births>) {
        self.suspects.clear();
        let known = self.entries.len();
        let Ok(pids) = self.listing.read(self.reader.root.directory()) else {
            // The directory is gone, or unmounted. What was open can still be read.
            self.counts.unreadable += 1;
            return;
        };
        let mut entries = self.entries.iter_mut().peekable();
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
        if let Some(births) = births.as_deref_mut() {
            // What began before its pid was listed has been told of by now. Without this, who has lost its
            // parent meanwhile would have the one that took it in.
            let now = self.reader.clock.now();
            self.hear_events(births, &now);
        }
        for pid in newcomers.drain(..) {
            let parent = births.as_deref().and_then(|births| births.parent_of(pid));
            let tracked = self.track(pid, Candidate::Listed { parent });
            if let Some(births) = births.as_deref_mut().filter(|_| tracked) {
                births.forget(pid);
            }
        }
        self.newcomers = newcomers;
        self.sort_if_grown(known);
    }

    /// Looks again at the pids of which no descriptor is kept that would tell of their end.
    pub(super) fn look_again(&mut self, mut at: impl FnMut(i32) -> bool) {
        for index in 0..self.entries.len() {
            if self.entries.get(index).is_some_and(|entry| at(entry.pid)) {
                self.is_replaced(index);
            }
        }
    }

    /// Says whether an entry without descriptor no longer stands for what has its pid.
    fn is_replaced(&mut self, index: usize) -> bool {
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        let Reader { root, buffer, .. } = &mut self.reader;
        let replaced = match entry.occupant {
            // Of a process and a zombie the descriptor tells; or it is compared at every reading.
            Occupant::Process(_) | Occupant::Zombie(_) => false,
            Occupant::Denied => root.open_process(entry.pid).is_ok(),
            // A kernel thread that runs a user's program (a helper such as modprobe) is none any more.
            Occupant::KernelThread(start) => match root.open_process(entry.pid) {
                Ok(directory) => {
                    let bytes = read_file(root, buffer, &directory, c"stat");
                    let stat = bytes.ok().and_then(|bytes| parse_stat(bytes).ok());
                    !stat.is_some_and(|stat| stat.is_kernel_thread() && stat.starttime == start)
                }
                Err(_) => true,
            },
        };
        entry.state.set(EntryState::GONE, replaced || entry.state.contains(EntryState::GONE));
        replaced
    }

    /// Restores the order by pid after new entries were pushed.
    pub(super) fn sort_if_grown(&mut self, known: usize) {
        if self.entries.len() > known {
            // Of two entries with one pid, one is marked as gone, so their order does not matter.
            self.entries.sort_unstable_by_key(|entry| entry.pid);
        }
    }

    /// Begins to follow the process that has `pid`, and returns whether it has an entry now.
    pub(super) fn track(&mut self, pid: i32, candidate: Candidate) -> bool {
        match self.open(pid, candidate) {
            Ok(Some(entry)) => {
                self.counts.born += u32::from(entry.process().is_some());
                self.entries.push(entry);
                return true;
            }
            Ok(None) => {}
            Err(ReadError::Gone) => {
                if matches!(candidate, Candidate::Listed { .. }) {
                    self.counts.gone += 1;
                }
            }
            Err(ReadError::Denied) => {
                self.entries.push(Entry::new(pid, Occupant::Denied));
                return true;
            }
            Err(ReadError::NoDescriptor | ReadError::Io(_) | ReadError::Parse(_)) => {
                self.counts.unreadable += 1;
                // Perhaps it can be read next time.
                self.suspects.push(pid);
            }
        }
        false
    }

    fn open(&mut self, pid: i32, candidate: Candidate) -> Result<Option<Entry>, ReadError> {
        let directory = self.reader.root.open_process(pid)?;
        let root = &self.reader.root;
        let buffer = &mut self.reader.buffer;
        if candidate == Candidate::ProcessOrThread {
            let status = parse_status(read_file(root, buffer, &directory, c"status")?)?;
            if status.tgid.is_some_and(|tgid| u64::try_from(pid) != Ok(tgid)) {
                return Ok(None);
            }
        }
        let stat = parse_stat(read_file(root, buffer, &directory, c"stat")?)?;
        let start = stat.starttime;
        if stat.is_kernel_thread() {
            return Ok(Some(Entry::new(pid, Occupant::KernelThread(start))));
        }
        let start_ns = self.reader.host.nanos(start).unwrap_or(u64::MAX);
        let addresses = Addresses { code: stat.startcode, stack: stat.startstack };
        let (ppid, comm) = (stat.ppid, Comm::new(stat.comm));
        let image_boot_ns = self.reader.clock.now().boot_ns;
        let ImageDescription { uid, comm, exe, cmdline, cgroup, role } =
            self.reader.read_image(&directory, comm);
        // Who lost its parent has another one now.
        let ppid = candidate.parent().unwrap_or(ppid);
        let statm = self.keep_statm(&directory)?;
        let process = self.slots.next_process();
        let identity = Identity {
            process,
            pid,
            start,
            start_ns,
            exec: 0,
            ppid,
            uid,
            comm,
            exe,
            cmdline,
            cgroup,
            role,
        };
        let process = Process::new(identity, self.slots.take(), addresses, image_boot_ns);
        let mut entry = Entry::new(pid, Occupant::Process(Box::new(process)));
        entry.statm = statm;
        Ok(Some(entry))
    }

    /// Opens `statm` to keep it, as far as descriptors allow.
    fn keep_statm(&mut self, directory: &ProcessDir) -> Result<Option<OwnedFd>, ReadError> {
        let Reader { root, descriptors, .. } = &mut self.reader;
        if !root.is_live() || !descriptors.take(0) {
            return Ok(None);
        }
        match directory.open_file(c"statm") {
            Ok(statm) => Ok(Some(statm)),
            Err(errno) => {
                descriptors.release(1);
                Err(errno.into())
            }
        }
    }
}

/// The pids that the kernel gave to processes and threads between two readings of `loadavg`.
#[derive(Clone, Copy)]
struct GivenPids {
    before: i32,
    last: i32,
}

impl GivenPids {
    /// Says whether trying each of them costs less than a listing of that many entries.
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

/// What a pid may stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// It was listed, and only processes are. The kernel may have told who forked it.
    Listed { parent: Option<i32> },
    /// It was given since the last sweep, to a process or to a thread.
    ProcessOrThread,
    /// The kernel told of the process.
    Told { parent: Option<i32> },
}

impl Candidate {
    fn parent(self) -> Option<i32> {
        match self {
            Self::Listed { parent } | Self::Told { parent } => parent,
            Self::ProcessOrThread => None,
        }
    }
}
