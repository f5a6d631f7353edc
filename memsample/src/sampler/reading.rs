//! Reads the files of a process, through descriptors that are kept or opened for each reading.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;

use super::apply::{
    ImageChange, StatmReading, apply_counters, apply_statm, apply_status, change_of_first_thread,
    counters, files_after_statm, image_change, page_faults, set,
};
use super::descriptors::Descriptors;
use super::entry::{Addresses, Entry, EntryState, Occupant, Process};
use super::file_metrics::{has_shrunk, rollup_metrics};
use super::given_up::GivenUp;
use super::image_description::{IMAGE, ImageDescription};
use super::read_file::{count, counted, file_error, read_file};
use super::reading_outcome::{Adopted, Reading};
use crate::clock::Clock;
use crate::counts::SweepCounts;
use crate::error::ReadError;
use crate::host::Host;
use crate::identity::Comm;
use crate::identity_rules::IdentityRules;
use crate::metric::{Files, Metric};
use crate::parse::{Stat, parse_smaps_rollup, parse_stat, parse_status};
use crate::proc::{
    Answer, Listing, MAX_AT_ONCE, ProcFile, ProcRoot, ProcessDir, ReadBuffer, ReaderThreads,
    Request,
};
use crate::units::ClockTicks;

/// What is read of the memory of a process, and waits while its memory map is locked.
const ROLLUP: &[ProcFile] = &[ProcFile::Piece(c"smaps_rollup")];

/// Reads the files of one process after another through the same buffer.
pub(super) struct Reader {
    pub(super) root: ProcRoot,
    pub(super) host: Host,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) descriptors: Descriptors,
    pub(super) supported: Files,
    pub(super) buffer: ReadBuffer,
    pub(super) rules: IdentityRules,
    pub(super) threads: Listing,
    /// Whether the kernel reports what gets a pid, so that no pid must be tried, and every exec.
    pub(super) forks_are_reported: bool,
    /// Processes that have begun another program in the sweep that looked at their image for the first time.
    pub(super) executed: Vec<i32>,
    /// For what may not come back.
    pub(super) readers: ReaderThreads,
    given_up: Vec<GivenUp>,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    /// The memory of the last answer.
    spare: Answer,
}

impl Reader {
    pub(super) fn new(
        root: ProcRoot,
        host: Host,
        clock: Arc<dyn Clock>,
        descriptors: Descriptors,
        rules: IdentityRules,
    ) -> Self {
        let mut supported = Files::all() - Files::IMPORTED;
        // Since Linux 4.14. A captured tree may lack the file for some of its processes only.
        if root.is_live() && root.open_file(c"self/smaps_rollup").is_err() {
            supported -= Files::SMAPS_ROLLUP;
        }
        Self {
            readers: ReaderThreads::new(Arc::clone(&clock)),
            root,
            host,
            clock,
            descriptors,
            supported,
            buffer: ReadBuffer::new(),
            rules,
            threads: Listing::new(),
            forks_are_reported: false,
            executed: Vec::new(),
            given_up: Vec::new(),
            requests: Vec::with_capacity(MAX_AT_ONCE),
            answers: Vec::with_capacity(MAX_AT_ONCE),
            spare: Answer::default(),
        }
    }

    /// Makes the descriptor table of the program as large as it will have to be.
    ///
    /// The kernel enlarges it by doubling, and each time waits for all CPUs to pass a quiet point if
    /// the program has another thread by then.
    pub(super) fn grow_descriptor_table(&self, processes: usize) {
        let expected = (4 * processes).max(64).min(self.descriptors.allowed);
        if let Ok(highest) = i32::try_from(expected) {
            // A copy at a high number grows the table; the table stays when the copy is closed.
            drop(fcntl_dupfd_cloexec(self.root.directory(), highest));
        }
    }

    /// Reads `files` of a process into its metrics, and `on_change` too if its `statm` is another than
    /// before.
    #[inline]
    pub(super) fn read(
        &mut self,
        entry: &mut Entry,
        files: Files,
        on_change: Files,
        counts: &mut SweepCounts,
    ) -> Reading {
        entry.read = Files::empty();
        if files == Files::STATM
            && let Some(statm) = &entry.statm
            && let Ok(bytes) = self.buffer.read_piece(statm)
            && entry.is_same_statm(bytes)
        {
            // Most processes did nothing since the last tick, and equal bytes are equal numbers.
            entry.read = Files::STATM;
            entry.hold_status(on_change);
            entry.state.remove(EntryState::NEWBORN);
            return Reading::Alive;
        }
        let reading = self.read_changed(entry, files, on_change, counts);
        entry.state.remove(EntryState::NEWBORN);
        reading
    }

    fn read_changed(
        &mut self,
        entry: &mut Entry,
        files: Files,
        on_change: Files,
        counts: &mut SweepCounts,
    ) -> Reading {
        // Taken out, so that the entry and the process can be changed independently.
        let Occupant::Process(mut process) =
            std::mem::replace(&mut entry.occupant, Occupant::Denied)
        else {
            return Reading::Alive;
        };
        // No row says whether they are still the same.
        process.groups = 0;
        let outcome = if entry.statm.is_some() {
            self.read_kept(entry, &mut process, files, on_change, counts)
        } else {
            self.read_opening(entry, &mut process, files, on_change, counts)
        };
        entry.occupant = Occupant::Process(process);
        match outcome {
            Ok(reading) => reading,
            Err(ReadError::Gone) => Reading::Gone,
            Err(error) => {
                // Without `statm` the numbers are those of an earlier sweep, so there is no sample.
                if !entry.read.contains(Files::STATM) {
                    entry.read = Files::empty();
                }
                if matches!(error, ReadError::NoDescriptor) {
                    return Reading::NoDescriptor;
                }
                count(counts, &error);
                Reading::Alive
            }
        }
    }

    /// Reads a process through the descriptors that are kept.
    fn read_kept(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
        files: Files,
        on_change: Files,
        counts: &mut SweepCounts,
    ) -> Result<Reading, ReadError> {
        let Some(statm) = &entry.statm else {
            return Err(ReadError::Gone);
        };
        let reading = match self.buffer.read_piece(statm) {
            Ok(bytes) => apply_statm(entry, process, bytes, &self.host)?,
            // The thread that stood in has ended; another may.
            Err(_) if process.thread.is_some() => StatmReading::NoMemory,
            Err(errno) => return Err(errno.into()),
        };
        let adopted = match reading {
            StatmReading::NoMemory => match self.adopt_thread(entry, process)? {
                None => return Ok(Reading::NoMemory),
                adopted => adopted,
            },
            StatmReading::Changed { .. } | StatmReading::Unchanged => None,
        };
        let reading = adopted.as_ref().map_or(reading, |adopted| adopted.reading);
        let code_changed = reading.has_other_code(entry);
        let files = files_after_statm(entry, &reading, files, on_change);
        let start = process.identity.start;
        let faults_before = page_faults(process);
        let mut change = ImageChange::None;
        if files.contains(Files::STAT)
            || code_changed
            || adopted.is_some()
            || process.is_exec_reported()
            || process.is_in_exec
            || (entry.state.contains(EntryState::NEWBORN) && !self.forks_are_reported)
        {
            let host = self.host;
            let outcome = self
                .read_keeping(entry.pid, start, None, &mut process.stat, c"stat")
                .and_then(|bytes| Ok(parse_stat(bytes)?))
                .and_then(|stat| {
                    let addresses = match &adopted {
                        Some(Adopted { stand_in: Some(addresses), .. }) => *addresses,
                        // The thread that stands in has not executed another program, or it were the first one.
                        None if process.thread.is_some() => process.addresses,
                        Some(Adopted { stand_in: None, .. }) | None => Addresses::of(&stat),
                    };
                    let comm = Comm::new(stat.comm);
                    change = match adopted {
                        Some(Adopted { stand_in: None, .. }) => {
                            change_of_first_thread(process, comm, addresses)
                        }
                        _ => image_change(process, comm, addresses, code_changed),
                    };
                    change.note_addresses(process, addresses);
                    if files.contains(Files::STAT) {
                        apply_counters(entry, process, &counters(&stat, &host)?);
                    }
                    Ok(())
                });
            counted(outcome, counts)?;
        }
        // Without a page fault nothing became resident, so the last reading still holds.
        let faulted = faults_before != page_faults(process) || !entry.read.contains(Files::STAT);
        if files.contains(Files::STATUS) && !faulted {
            entry.hold_status(on_change);
        }
        if files.contains(Files::STATUS) && !entry.read.contains(Files::STATUS) {
            let outcome = self
                .read_keeping(entry.pid, start, process.thread, &mut process.status, c"status")
                .and_then(|bytes| Ok(apply_status(entry, process, &parse_status(bytes)?)?));
            counted(outcome, counts)?;
        }
        self.follow_image(entry, process, change, counts)
    }

    /// Reads a file of a process, or of the thread that stands in, and keeps it open if descriptors
    /// allow.
    fn read_keeping(
        &mut self,
        pid: i32,
        start: ClockTicks,
        thread: Option<i32>,
        kept: &mut Option<OwnedFd>,
        name: &CStr,
    ) -> Result<&[u8], ReadError> {
        if kept.is_none() {
            let directory = self.root.open_process(pid)?;
            let file = match thread {
                Some(tid) => directory.open_thread(tid)?.open_file(name)?,
                None => directory.open_file(name)?,
            };
            // The pid could have been given again since `statm` was read.
            let stat = read_file(&self.root, &mut self.buffer, &directory, c"stat")?;
            if parse_stat(stat)?.starttime != start {
                return Err(ReadError::Gone);
            }
            // The last quarter of the descriptors is for the `statm` of processes to come.
            if !self.descriptors.take(self.descriptors.allowed / 4) {
                return Ok(self.buffer.read_piece(file)?);
            }
            *kept = Some(file);
        }
        match kept {
            Some(file) => Ok(self.buffer.read_piece(&*file)?),
            None => Err(ReadError::NoDescriptor),
        }
    }

    /// Reads a process of which no descriptor is kept.
    ///
    /// The pid may belong to another process since the last sweep, so `stat` is read for the start.
    fn read_opening(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
        files: Files,
        on_change: Files,
        counts: &mut SweepCounts,
    ) -> Result<Reading, ReadError> {
        let directory = self.root.open_process(entry.pid)?;
        let stat = parse_stat(read_file(&self.root, &mut self.buffer, &directory, c"stat")?)?;
        if stat.starttime != process.identity.start {
            return Err(ReadError::Gone);
        }
        let (comm, shown) = (Comm::new(stat.comm), Addresses::of(&stat));
        let counters = counters(&stat, &self.host);
        let statm = read_file(&self.root, &mut self.buffer, &directory, c"statm")?;
        let reading = apply_statm(entry, process, statm, &self.host)?;
        let adopted = match reading {
            StatmReading::NoMemory => match self.adopt_thread(entry, process)? {
                None => return Ok(Reading::NoMemory),
                adopted => adopted,
            },
            StatmReading::Changed { .. } | StatmReading::Unchanged if process.thread.is_some() => {
                Some(Adopted { reading, stand_in: None })
            }
            StatmReading::Changed { .. } | StatmReading::Unchanged => None,
        };
        let reading = adopted.as_ref().map_or(reading, |adopted| adopted.reading);
        let is_first_again = matches!(adopted, Some(Adopted { stand_in: None, .. }));
        let (comm, addresses) = match adopted {
            Some(Adopted { stand_in: Some(addresses), .. }) => (comm, addresses),
            Some(Adopted { stand_in: None, .. }) => {
                let stat = self.stat_now(entry.pid, process.identity.start)?;
                process.thread = None;
                (Comm::new(stat.comm), Addresses::of(&stat))
            }
            None => (comm, shown),
        };
        let change = match is_first_again {
            true => change_of_first_thread(process, comm, addresses),
            false => image_change(process, comm, addresses, reading.has_other_code(entry)),
        };
        change.note_addresses(process, addresses);
        let thread = process.thread;
        let files = files_after_statm(entry, &reading, files, on_change);
        if self.root.is_live() {
            counts.reopened += 1;
        }
        if files.contains(Files::STAT) {
            let outcome = counters.map(|counters| apply_counters(entry, process, &counters));
            counted(outcome.map_err(ReadError::from), counts)?;
        }
        if files.contains(Files::STATUS) {
            let of_thread = thread.map(|tid| directory.open_thread(tid)).transpose()?;
            let directory = of_thread.as_ref().unwrap_or(&directory);
            let outcome = read_file(&self.root, &mut self.buffer, directory, c"status")
                .and_then(|bytes| Ok(apply_status(entry, process, &parse_status(bytes)?)?));
            counted(outcome, counts)?;
        }
        self.follow_image(entry, process, change, counts)
    }

    /// Reads the PSS of a process, whose `statm` was read in this sweep, and returns the CPU time that it took in
    /// nanoseconds; `None` where it did not come back, now or before.
    ///
    /// Waits no longer than for `longest_ns`, where the tree is live; what takes longer comes with a later sweep.
    pub(super) fn read_rollup(
        &mut self,
        entry: &mut Entry,
        longest_ns: Option<u64>,
        counts: &mut SweepCounts,
    ) -> Option<u64> {
        let process = entry.process()?;
        let key = process.identity.process.0;
        if self.readers.is_stuck(key) {
            return None;
        }
        // Opened for each reading: an open descriptor shows the memory from before an exec.
        let directory = self.root.open_process(entry.pid);
        let directory = directory.and_then(|directory| match process.thread {
            Some(tid) => directory.open_thread(tid),
            None => Ok(directory),
        });
        let directory = match directory {
            Ok(directory) => directory,
            Err(errno) => {
                // A process that ended meanwhile is noticed, and counted, in the next sweep.
                let _ = counted(Err(errno.into()), counts);
                return Some(0);
            }
        };
        let memory = std::mem::take(&mut self.spare);
        self.requests.push(Request::new(key, directory, ROLLUP, memory));
        let longest = longest_ns.filter(|_| self.root.is_live()).map(Duration::from_nanos);
        let answer = self.answer(longest)?;
        let came = answer.stuck_at().is_none().then_some(answer.cpu_ns);
        match came {
            Some(_) => self.apply_rollup(entry, &answer, counts),
            None => self.note_stuck(entry.pid, &answer, entry.process()?.comm, counts),
        }
        self.spare = answer;
        came
    }

    /// Applies the PSS that was read of a process.
    pub(super) fn apply_rollup(
        &mut self,
        entry: &mut Entry,
        answer: &Answer,
        counts: &mut SweepCounts,
    ) {
        let Entry { pid, statm, occupant: Occupant::Process(process), read, state, .. } = entry
        else {
            return;
        };
        let outcome = match answer.piece(0) {
            Some(Ok(bytes)) => parse_smaps_rollup(bytes).map_err(ReadError::from),
            Some(Err(errno)) => Err(file_error(&self.root, errno)),
            None => return,
        };
        // If the kept descriptor still answers, nobody else had the pid meanwhile.
        let same_process = match statm {
            Some(statm) => Ok(self.buffer.read_piece(&*statm).is_ok()),
            None => self.is_still(*pid, process.identity.start),
        };
        let outcome = outcome.and_then(|rollup| {
            if !same_process? {
                return Err(ReadError::Gone);
            }
            let values = rollup_metrics(&rollup)?;
            let rss_bytes = process.metrics.get(Metric::Rss);
            if self.root.is_live() && has_shrunk(rss_bytes, &rollup) {
                return Ok(());
            }
            set(process, state, &values);
            process.pss_boot_ns = Some(self.clock.now().boot_ns);
            *read |= Files::SMAPS_ROLLUP;
            Ok(())
        });
        // A process that ended meanwhile is noticed, and counted, in the next sweep.
        let _ = counted(outcome, counts);
    }

    /// Waits for the answer to what is asked.
    fn answer(&mut self, longest: Option<Duration>) -> Option<Answer> {
        self.readers.read(&mut self.requests, &mut self.answers, longest);
        self.answers.pop()
    }

    /// Notes a reading that did not come back. Those that are still under way are counted elsewhere.
    pub(super) fn note_stuck(
        &mut self,
        pid: i32,
        answer: &Answer,
        comm: Comm,
        counts: &mut SweepCounts,
    ) {
        let Some(file) = answer.stuck_at() else { return };
        let is_asked = self.readers.is_stuck(answer.key);
        // No thread was free to read it: it is not the process that is stuck.
        counts.stuck += u32::from(!is_asked);
        if is_asked {
            let (key, file) = (answer.key, file.name());
            self.given_up.push(GivenUp { key, waits: false, is_told: false, pid, comm, file });
        }
    }

    /// Returns the readings that have not come back until now. There are no more than threads for them.
    pub(super) fn given_up(&mut self) -> &mut [GivenUp] {
        let Self { given_up, readers, .. } = self;
        given_up.retain(|reading| readers.is_stuck(reading.key));
        for reading in given_up.iter_mut() {
            reading.waits = readers.waits(reading.key);
        }
        given_up
    }

    /// Reads what the images are that are asked for, and hands each answer to `apply`.
    pub(super) fn read_images(
        &mut self,
        requests: &mut Vec<Request>,
        mut apply: impl FnMut(&mut Self, Answer),
    ) {
        let mut answers = std::mem::take(&mut self.answers);
        self.readers.read(requests, &mut answers, None);
        for answer in answers.drain(..) {
            apply(self, answer);
        }
        self.answers = answers;
    }

    /// Reads what a process is after an exec, apart from its numbers.
    fn read_image(
        &mut self,
        process: &Process,
        pid: i32,
        comm: Comm,
        counts: &mut SweepCounts,
    ) -> Result<ImageDescription, ReadError> {
        let directory = self.root.open_process(pid)?;
        let directory = match process.thread.filter(|_| self.root.is_live()) {
            Some(tid) => directory.open_thread(tid)?,
            None => directory,
        };
        let mut image = ImageDescription::unknown(self.read_uid(&directory), comm);
        let key = process.identity.process.0;
        self.requests.push(Request::new(key, directory, IMAGE, Answer::default()));
        if let Some(answer) = self.answer(None) {
            self.note_stuck(pid, &answer, comm, counts);
            image.describe(&self.rules, &answer);
        }
        Ok(image)
    }

    /// Reads the effective user id.
    pub(super) fn read_uid(&mut self, directory: &ProcessDir) -> Option<u32> {
        let status = read_file(&self.root, &mut self.buffer, directory, c"status").ok()?;
        parse_status(status).ok()?.euid.and_then(|uid| u32::try_from(uid).ok())
    }

    pub(super) fn follow_image(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
        change: ImageChange,
        counts: &mut SweepCounts,
    ) -> Result<Reading, ReadError> {
        match change {
            ImageChange::None => Ok(Reading::Alive),
            ImageChange::Renamed(comm) => {
                process.comm = comm;
                process.description.forget();
                entry.state.remove(EntryState::DESCRIPTION_REPORTED);
                Ok(Reading::Alive)
            }
            ImageChange::Exec { comm, addresses } => {
                let mut image = self.look_at_image(entry, process, comm, counts)?;
                // Only now: until then it is an exec that is still to be seen.
                image.execs_since = process.begin_exec(addresses);
                if process.is_in_exec && image.has_arguments {
                    // It is over by now, or nearly so. Another one that follows in no time is seen by the addresses.
                    let now = self.stat_now(entry.pid, process.identity.start);
                    if let Ok(now) = now.map(|stat| Addresses::of(&stat))
                        && !now.unset()
                    {
                        process.end_exec(now, self.clock.now().boot_ns);
                    }
                } else if !process.is_in_exec {
                    self.check_image(entry.pid, process);
                }
                Ok(Reading::NewImage(image))
            }
            ImageChange::Completed { comm, addresses } => {
                // What was read of it before may be of the next image now.
                if process.identity.cmdline.is_empty() || comm != process.comm {
                    let image = self.look_at_image(entry, process, comm, counts)?;
                    image.complete(process, &mut entry.state);
                }
                process.end_exec(addresses, self.clock.now().boot_ns);
                self.check_image(entry.pid, process);
                Ok(Reading::Alive)
            }
        }
    }

    /// Checks, where nobody reports it, that no other program has begun while the image was looked at: what was read may be
    /// of that one. Then the process is to be looked at again.
    fn check_image(&mut self, pid: i32, process: &Process) {
        if self.forks_are_reported {
            return;
        }
        let Ok(stat) = self.stat_now(pid, process.identity.start) else { return };
        let now = Addresses::of(&stat);
        if now != process.addresses && (now.unset() || !now.hidden()) {
            self.executed.push(pid);
        }
    }

    /// Reads `stat` of a process that began at `start`.
    fn stat_now(&mut self, pid: i32, start: ClockTicks) -> Result<Stat<'_>, ReadError> {
        let directory = self.root.open_process(pid)?;
        let stat = parse_stat(read_file(&self.root, &mut self.buffer, &directory, c"stat")?)?;
        match stat.starttime == start {
            true => Ok(stat),
            false => Err(ReadError::Gone),
        }
    }

    /// Reads what a process is since an exec, apart from its numbers.
    fn look_at_image(
        &mut self,
        entry: &Entry,
        process: &mut Process,
        comm: Comm,
        counts: &mut SweepCounts,
    ) -> Result<ImageDescription, ReadError> {
        process.image_boot_ns = self.clock.now().boot_ns;
        let image = self.read_image(process, entry.pid, comm, counts)?;
        match &entry.statm {
            // Were the pid another's by now, the kept descriptor would say so.
            Some(statm) => self.buffer.read_piece(statm).map(drop)?,
            None if !self.is_still(entry.pid, process.identity.start)? => {
                return Err(ReadError::Gone);
            }
            None => {}
        }
        Ok(image)
    }
}
