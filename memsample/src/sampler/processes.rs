//! The processes that are followed, and reading all of them.

use std::os::fd::OwnedFd;

use super::candidate::Candidate;
use super::descriptors::Descriptors;
use super::entry::{Addresses, Entry, EntryState, Occupant, Process, Slots};
use super::image_description::IMAGE;
use super::images::{become_zombie, begin_image, describe, retire};
use super::memory_maps::{Newborn, note_memory_maps};
use super::options::SamplerOptions;
use super::plan::Plan;
use super::read_file::read_file;
use super::reading::Reader;
use super::reading_outcome::Reading;
use super::row_source::RowSource;
use super::stand_in::StandIn;
use super::sweep_by::SweepBy;
use super::unmatched_exit::UnmatchedExit;
use crate::counts::SweepCounts;
use crate::error::ReadError;
use crate::identity::{Comm, Identity};
use crate::metric::{Files, Metric};
use crate::parse::{parse_stat, parse_status};
use crate::proc::{Answer, ProcFile, ProcRoot, ProcessDir, Request};
use crate::slot::Slot;

/// The start of a process in `stat` is up to one clock tick before the report of its fork.
pub(super) const SLACK_NS: u64 = 20_000_000;
/// Of so many new processes it is read at once what they are: few enough that none of them has begun another
/// program meanwhile, and enough that it costs little to ask another thread.
const IMAGES_AT_ONCE: usize = 16;

/// The processes that are followed. Which those are, others find out.
pub(super) struct Processes {
    pub(super) reader: Reader,
    /// Where the numbers come from.
    pub(super) source: RowSource,
    /// Ascending by pid.
    pub(super) entries: Vec<Entry>,
    /// Process images that have ended since the last batch, of which a batch knows the beginning.
    pub(super) departed: Vec<Slot>,
    pub(super) slots: Slots,
    /// Exits whose records have not come; `None` where none will.
    pub(super) unmatched_exits: Option<Vec<UnmatchedExit>>,
    pub(super) swept_boot_ns: u64,
    pub(super) swept_before_boot_ns: u64,
    /// Pids to look at in the next sweep: their process ended, and another may have the pid already.
    pub(super) suspects: Vec<i32>,
    pub(super) counts: SweepCounts,
    /// What the last sweep read of every process that was due.
    pub(super) common_files: Files,
    /// New processes, at the end of the entries, of which it is not yet read what they are.
    undescribed: Vec<Request>,
    /// New processes of which it is not yet known whether they share their memory.
    newborns: Vec<Newborn>,
    /// CPU time of readings of PSS that came too late for the sweep that asked for them, and which nobody has paid
    /// for.
    pub(super) late_cost_ns: u64,
}

/// What a sweep reads, as far as the kernel has it.
struct WantedFiles {
    files: Files,
    of_newborn: Files,
    on_change: Files,
}

impl Processes {
    /// The largest resident set of a process whose PSS is read.
    pub(super) const MAX_ROLLUP_RSS_BYTES: u64 = 4 << 30;

    /// Follows no process yet, and has room for `processes` of them.
    pub(super) fn new(root: ProcRoot, options: SamplerOptions, processes: usize) -> Self {
        let descriptors = Descriptors::new(options.max_descriptors);
        let reader = Reader::new(root, options.host, options.clock, descriptors, options.rules);
        reader.grow_descriptor_table(processes);
        Self {
            reader,
            source: RowSource::default(),
            entries: Vec::with_capacity(2 * processes),
            departed: Vec::new(),
            slots: Slots::default(),
            unmatched_exits: None,
            swept_boot_ns: 0,
            swept_before_boot_ns: 0,
            suspects: Vec::with_capacity(2 * processes),
            counts: SweepCounts::default(),
            common_files: Files::empty(),
            undescribed: Vec::with_capacity(IMAGES_AT_ONCE),
            newborns: Vec::with_capacity(processes),
            late_cost_ns: 0,
        }
    }

    /// Returns what this sweep did and did not read.
    pub(super) fn counts(&self) -> SweepCounts {
        let stuck = u32::try_from(self.reader.readers.stuck()).unwrap_or(u32::MAX);
        SweepCounts { stuck: self.counts.stuck.saturating_add(stuck), ..self.counts }
    }

    /// Takes in what has come since it was given up, of processes that were read in this sweep.
    fn take_late_answers(&mut self) {
        while let Some(answer) = self.reader.readers.late() {
            let Self { entries, reader, counts, late_cost_ns, .. } = self;
            let is_its_own = |process: &Process| process.identity.process.0 == answer.key;
            let entry = entries.iter_mut().find(|entry| entry.process().is_some_and(is_its_own));
            let Some(entry) = entry else { continue };
            match answer.files.first() {
                Some(ProcFile::Exe) => {
                    describe(reader, entry, &answer);
                    continue;
                }
                Some(file) if file.name() == c"smaps_rollup" => {}
                // What was read again comes at the next opportunity.
                Some(_) | None => continue,
            }
            *late_cost_ns += answer.cpu_ns;
            counts.rollups_read += 1;
            counts.add_rollup_cost(answer.cpu_ns);
            if !entry.read.is_empty() {
                reader.apply_rollup(entry, &answer, counts);
            }
            let boot_ns = reader.clock.now().boot_ns;
            if let Some(process) = entry.process_mut() {
                process.note_rollup(boot_ns, answer.cpu_ns);
            }
        }
    }

    /// Reads what the processes are that were opened last.
    fn describe_newborns(&mut self) {
        let Self { entries, reader, counts, undescribed, .. } = self;
        reader.read_images(undescribed, |reader, answer| {
            let is_its_own = |process: &Process| process.identity.process.0 == answer.key;
            let entry = entries.iter_mut().rfind(|entry| entry.process().is_some_and(is_its_own));
            let Some(entry) = entry else { return };
            describe(reader, entry, &answer);
            if let Some(process) = entry.process() {
                reader.note_stuck(entry.pid, &answer, process.comm, counts);
            }
        });
    }

    /// Reads the numbers of all of them, after the entries were brought up to date.
    pub(super) fn read(&mut self, plan: &Plan) {
        self.reader.executed.clear();
        let wanted = self.wanted_files(plan);
        self.source.begin_sweep(&mut self.reader, &self.entries);
        for index in 0..self.entries.len() {
            self.read_entry(index, &wanted);
        }
        self.source.end_sweep(&mut self.reader, &self.entries);
    }

    /// Settles where the numbers come from, after all processes were found.
    pub(super) fn settle_source(&mut self, wanted: SweepBy) -> Result<(), String> {
        self.source = RowSource::settle(wanted, &mut self.reader, &self.entries)?;
        Ok(())
    }

    /// Looks again, as if for the first time, at the processes that have begun another program while their image was looked
    /// at: what they are and their numbers may be of different programs. Returns whether there were any.
    pub(super) fn read_executed(&mut self, plan: &Plan) -> bool {
        let wanted = self.wanted_files(plan);
        let mut pids = std::mem::take(&mut self.reader.executed);
        let were_any = !pids.is_empty();
        for pid in pids.drain(..) {
            let index = self.entries.partition_point(|entry| entry.pid < pid);
            let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.pid == pid) else {
                continue;
            };
            // So that it is not taken for unchanged.
            entry.forget_statm();
            entry.state |= EntryState::NEWBORN;
            let was_read = !std::mem::replace(&mut entry.read, Files::empty()).is_empty();
            self.counts.processes -= u32::from(was_read);
            self.read_entry(index, &wanted);
        }
        if self.reader.executed.is_empty() {
            self.reader.executed = pids;
        }
        were_any
    }

    /// Reads what takes longer than the numbers, and forgets what has ended.
    pub(super) fn finish(&mut self, plan: &Plan) {
        self.take_late_answers();
        let WantedFiles { files, on_change, .. } = self.wanted_files(plan);
        self.common_files = files - Files::SMAPS_ROLLUP;
        self.common_files |= on_change & Files::STATUS;
        if files.contains(Files::SMAPS_ROLLUP) && self.read_rollups(plan.rollups_until_boot_ns) {
            self.common_files |= Files::SMAPS_ROLLUP;
        }
        self.forget_gone();
        self.source.make_room();
    }

    fn wanted_files(&self, plan: &Plan) -> WantedFiles {
        let supported = self.reader.supported;
        let files = (plan.files | Files::STATM) & supported;
        WantedFiles {
            files,
            of_newborn: files | (plan.newborn_files & supported),
            on_change: plan.on_change & supported,
        }
    }

    fn read_entry(&mut self, index: usize, wanted: &WantedFiles) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if entry.state.contains(EntryState::GONE) {
            entry.read = Files::empty();
            return;
        }
        match entry.occupant {
            Occupant::Process(_) => {}
            Occupant::Zombie(start) => {
                let reaped = self.reader.is_no_zombie(entry.pid, start, entry.statm.as_ref());
                entry.state.set(EntryState::GONE, reaped);
                return;
            }
            Occupant::Denied => {
                self.counts.denied += 1;
                return;
            }
            Occupant::KernelThread(_) => return,
        }
        let swept_boot_ns = self.swept_boot_ns;
        let is_new = entry.process().is_some_and(|process| process.is_new_since(swept_boot_ns));
        let is_newborn = entry.state.contains(EntryState::NEWBORN);
        let files = if is_newborn { wanted.of_newborn } else { wanted.files };
        let (reader, counts) = (&mut self.reader, &mut self.counts);
        let row = self.source.next_row(entry.pid);
        let by_row =
            row.and_then(|row| reader.read_row(entry, &row, files, wanted.on_change, counts));
        let mut reading =
            by_row.unwrap_or_else(|| reader.read(entry, files, wanted.on_change, counts));
        while matches!(reading, Reading::NoDescriptor) && self.free_descriptor() {
            let Some(entry) = self.entries.get_mut(index) else { return };
            let counts = &mut self.counts;
            reading = self.reader.read(entry, files, wanted.on_change, counts);
        }
        let Some(entry) = self.entries.get_mut(index) else { return };
        match reading {
            Reading::Alive => {}
            Reading::NoDescriptor => self.counts.unreadable += 1,
            Reading::NewImage(image) => {
                self.counts.born += u32::from(!is_new);
                retire(entry, &mut self.departed, &mut self.slots);
                begin_image(entry, image, &mut self.slots);
            }
            Reading::NoMemory => {
                self.counts.gone += 1;
                UnmatchedExit::remember(
                    &mut self.unmatched_exits,
                    entry,
                    self.swept_before_boot_ns,
                );
                retire(entry, &mut self.departed, &mut self.slots);
                become_zombie(entry, &mut self.reader.descriptors);
            }
            Reading::Gone => {
                entry.read = Files::empty();
                entry.state |= EntryState::GONE;
            }
        }
        self.counts.processes += u32::from(!entry.read.is_empty());
    }

    /// Reads `smaps_rollup` of the processes that are due until `until_boot_ns`, and returns whether
    /// this sweep began and finished a round.
    fn read_rollups(&mut self, until_boot_ns: u64) -> bool {
        let begins = !self.entries.iter().any(|entry| entry.state.contains(EntryState::ROLLUP_DUE));
        let mut out_of_time = false;
        for entry in &mut self.entries {
            let due = begins || entry.state.contains(EntryState::ROLLUP_DUE);
            let due = due && !entry.read.is_empty();
            entry.state.set(EntryState::ROLLUP_DUE, due && out_of_time);
            if !due {
                continue;
            }
            if out_of_time {
                self.counts.rollups_pending += 1;
                continue;
            }
            let rss_bytes = entry.process().map_or(0, |process| process.metrics.get(Metric::Rss));
            if rss_bytes > Self::MAX_ROLLUP_RSS_BYTES {
                self.counts.rollups_skipped += 1;
                continue;
            }
            let came = self.reader.read_rollup(entry, None, &mut self.counts);
            self.counts.rollups_read += u32::from(came.is_some());
            out_of_time = self.reader.clock.now().boot_ns >= until_boot_ns;
        }
        begins && self.counts.rollups_pending == 0
    }

    /// Drops what has ended, and remembers to look at its pid in the next sweep.
    fn forget_gone(&mut self) {
        let Self { entries, departed, slots, suspects, reader, counts, unmatched_exits, .. } = self;
        entries.retain_mut(|entry| {
            if !entry.state.contains(EntryState::GONE) {
                return true;
            }
            if !reader.forks_are_reported {
                suspects.push(entry.pid);
            }
            counts.gone += u32::from(entry.process().is_some());
            UnmatchedExit::remember(unmatched_exits, entry, self.swept_before_boot_ns);
            retire(entry, departed, slots);
            reader.descriptors.release(entry.descriptors());
            false
        });
    }

    /// Looks again at the pids of which no descriptor is kept that would show their exit.
    pub(super) fn look_again(&mut self, mut at: impl FnMut(i32) -> bool) {
        for index in 0..self.entries.len() {
            if self.entries.get(index).is_some_and(|entry| at(entry.pid)) {
                self.is_replaced(index);
            }
        }
    }

    /// Returns whether an entry without descriptor no longer stands for what has its pid.
    pub(super) fn is_replaced(&mut self, index: usize) -> bool {
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
        self.describe_newborns();
        if self.entries.len() > known {
            // Of two entries with one pid, one is marked as gone, so their order does not matter.
            self.entries.sort_unstable_by_key(|entry| entry.pid);
        }
    }

    /// Notes of those that this sweep was the first to come to whose memory map they have. All images are known then that a
    /// process has begun before.
    pub(super) fn compare_memory_maps(&mut self) {
        let root = &self.reader.root;
        if !self.newborns.is_empty() && root.is_live() && root.shares_pid_namespace() {
            note_memory_maps(&mut self.entries, &self.newborns);
        }
        self.newborns.clear();
    }

    /// Begins to follow the process that has `pid`, and returns whether it has an entry now.
    pub(super) fn track(&mut self, pid: i32, candidate: Candidate) -> bool {
        let opened = loop {
            match self.open(pid, candidate) {
                Err(ReadError::NoDescriptor) if self.free_descriptor() => {}
                opened => break opened,
            }
        };
        match opened {
            Ok(Some(entry)) => {
                if entry.process().is_some() {
                    self.counts.born += 1;
                    self.newborns.push(Newborn {
                        pid,
                        is_forker_known: candidate.parent().is_some(),
                        has_executed: candidate.execs() > 0,
                    });
                }
                self.entries.push(entry);
                if self.undescribed.len() >= IMAGES_AT_ONCE {
                    self.describe_newborns();
                }
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
            Err(
                ReadError::NoDescriptor | ReadError::Stuck | ReadError::Io(_) | ReadError::Parse(_),
            ) => {
                self.counts.unreadable += 1;
                // Perhaps it can be read next time.
                self.suspects.push(pid);
            }
        }
        false
    }

    /// Makes a descriptor free where the rest of the program has taken what was left to open a file with. Returns whether
    /// there was one to give away.
    fn free_descriptor(&mut self) -> bool {
        if !self.undescribed.is_empty() {
            // Whoever waits to be described has a directory open.
            self.describe_newborns();
            return true;
        }
        let descriptors = &mut self.reader.descriptors;
        let Some(kept) = self.entries.iter_mut().rev().find_map(|entry| entry.statm.take()) else {
            return false;
        };
        drop(kept);
        descriptors.release(1);
        // So many are too many.
        descriptors.allowed = descriptors.kept;
        true
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
        let has_other_threads = stat.vsize_bytes == 0 && stat.num_threads > 1;
        let shown = Addresses::of(&stat);
        let (ppid, comm) = (stat.ppid, Comm::new(stat.comm));
        let image_boot_ns = self.reader.clock.now().boot_ns;
        let statm = self.keep_statm(&directory)?;
        // If its first thread has ended, it is another one that shows what it is.
        let stand_in = match has_other_threads {
            true => self.reader.stand_in(&directory)?,
            false => None,
        };
        let (directory, addresses) = match stand_in {
            // A captured tree has no more of threads than their numbers.
            Some(thread) if !self.reader.root.is_live() => (directory, thread.addresses),
            Some(StandIn { directory, addresses, .. }) => (directory, addresses),
            None => (directory, shown),
        };
        let uid = self.reader.read_uid(&directory);
        // Who lost its parent has another one now.
        let ppid = candidate.parent().unwrap_or(ppid);
        let process = self.slots.next_process();
        let identity = Identity {
            process,
            pid,
            start,
            start_ns,
            // One that is under way is reported when it is over.
            exec: candidate.execs().saturating_add(u32::from(addresses.unset())),
            ppid,
            uid,
            comm,
            exe: None,
            cmdline: Vec::new(),
            cgroup: None,
            moved: false,
            role: String::new(),
            replaced_max_rss_bytes: None,
            memory_map: None,
        };
        self.undescribed.push(Request::new(process.0, directory, IMAGE, Answer::default()));
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

    /// Returns whether `pid` is to be looked at: it has no entry, or that of a process that has ended,
    /// which is then marked so.
    pub(super) fn has_place_for(
        &mut self,
        pid: i32,
        known: usize,
        fork_boot_ns: Option<u64>,
    ) -> bool {
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
                // Found by a listing before its fork was reported, or another that had the pid before.
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
    pub(super) fn note_exec(&mut self, pid: i32, boot_ns: u64) -> bool {
        let swept_boot_ns = self.swept_boot_ns;
        let living = self.entry_of(pid).and_then(|entry| entry.process());
        let living = living.map(|process| process.identity.process);
        // A sweep may have seen its end before the report of the exec was read. Who got the pid since is another one.
        let mut is_known = false;
        if let Some(ends) = &mut self.unmatched_exits
            && let Some(end) = ends.iter_mut().rev().find(|end| end.pid == pid)
            && living.is_none_or(|process| process == end.identity.process)
        {
            end.last_look.note_exec();
            is_known = true;
        }
        let Some(entry) = self.entry_of(pid) else {
            return is_known;
        };
        let Some(process) = entry.process_mut() else {
            return is_known;
        };
        process.note_exec(boot_ns);
        let is_exec_reported = process.is_exec_reported();
        let is_new = process.is_new_since(swept_boot_ns);
        // So that it is not taken for unchanged.
        entry.forget_statm();
        if is_exec_reported && is_new {
            self.reader.executed.push(pid);
        }
        true
    }

    /// Returns the entry of a pid.
    pub(super) fn entry_of(&mut self, pid: i32) -> Option<&mut Entry> {
        let index = self.entries.partition_point(|entry| entry.pid < pid);
        self.entries.get_mut(index).filter(|entry| entry.pid == pid)
    }
}
