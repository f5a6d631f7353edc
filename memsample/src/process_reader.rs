//! Reading processes one after another, each file only when it is asked for.

use std::io;

use crate::error::ReadError;
use crate::host::Host;
use crate::identity::{Comm, Identity};
use crate::identity_rules::IdentityRules;
use crate::metric::Metric;
use crate::parse::{
    Smaps, Statm, parse_smaps, parse_smaps_rollup, parse_stat, parse_statm, parse_status,
};
use crate::proc::{
    Answer, Listing, ProcFile, ProcRoot, ProcessDir, ReadBuffer, ReaderThreads, Request,
};
use crate::sampler::{
    SamplerOptions, file_error, memory_cgroup, read_file, rollup_metrics, statm_metrics,
    status_metrics,
};

const ROLLUP: &[ProcFile] = &[ProcFile::Piece(c"smaps_rollup")];
const SMAPS: &[ProcFile] = &[ProcFile::Whole(c"smaps")];
const MAPS: &[ProcFile] = &[ProcFile::Whole(c"maps")];
const ENVIRON: &[ProcFile] = &[ProcFile::Whole(c"environ")];
const CMDLINE: &[ProcFile] = &[ProcFile::Whole(c"cmdline")];
const CGROUP: &[ProcFile] = &[ProcFile::Piece(c"cgroup")];
const IMAGE: &[ProcFile] =
    &[ProcFile::Exe, ProcFile::Piece(c"cgroup"), ProcFile::Piece(c"cmdline")];

/// Reads processes one after another, into memory that it uses again.
///
/// For a single look at a machine, where a [`Sampler`](crate::Sampler) is for many: nothing is kept
/// open, and a file that is not asked for is not read.
///
/// What takes a lock of a process, or touches its memory, is read by another thread, and given up where it does not
/// come back: see [`ReadError::Stuck`]. No other file of that process is then read so until it does.
///
/// ```
/// use memsample::{Metric, ProcessReader, SamplerOptions};
///
/// let mut reader = ProcessReader::open(SamplerOptions::default())?;
/// for pid in reader.pids()? {
///     // It may have ended, or be a thread of the kernel.
///     let Ok(mut process) = reader.process(pid) else { continue };
///     let Ok(Some(facts)) = process.facts() else { continue };
///     let pss = process.rollup().ok().and_then(|rollup| rollup.get(Metric::Pss));
///     println!("{pid} {}: {:?} bytes resident, PSS {pss:?}", facts.comm, facts.memory.get(Metric::Rss));
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct ProcessReader {
    root: ProcRoot,
    host: Host,
    rules: IdentityRules,
    listing: Listing,
    buffer: ReadBuffer,
    readers: ReaderThreads,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    /// The last answer.
    answer: Answer,
}

/// A process whose directory is open: what is read of it is never that of another with the same pid.
pub struct OpenProcess<'a> {
    reader: &'a mut ProcessReader,
    pid: i32,
    directory: ProcessDir,
    /// The thread that stands in, where the first one has ended.
    thread: Option<ProcessDir>,
}

/// What `status` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The parent's process id.
    pub ppid: Option<i32>,
    /// The effective user id.
    pub uid: Option<u32>,
    /// The command name.
    pub comm: Comm,
    /// Its memory.
    pub memory: PartialMetrics,
    /// Whether `status` could be read. In a captured tree it may be missing; then the name and the
    /// memory are from `stat` and `statm`.
    pub has_status: bool,
}

/// Those metrics of a process that were read, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialMetrics([Option<u64>; Metric::COUNT]);

impl PartialMetrics {
    fn new(values: &[(Metric, u64)]) -> Self {
        let mut metrics = [None; Metric::COUNT];
        for &(metric, value) in values {
            if let Some(place) = metrics.get_mut(metric as usize) {
                *place = Some(value);
            }
        }
        Self(metrics)
    }

    /// Returns the value of `metric`, or `None` where it was not read.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<u64> {
        self.0.get(metric as usize).copied().flatten()
    }
}

impl ProcessReader {
    /// Opens the `/proc` tree of the options.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened.
    pub fn open(options: SamplerOptions) -> io::Result<Self> {
        Ok(Self {
            root: options.open_root()?,
            host: options.host_constants(),
            rules: options.identity_rules().clone(),
            listing: Listing::new(),
            buffer: ReadBuffer::new(),
            readers: ReaderThreads::new(options.shared_clock()),
            requests: Vec::new(),
            answers: Vec::new(),
            answer: Answer::default(),
        })
    }

    /// Returns the process ids, ascending. Threads of the kernel are among them.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed, or holds no process.
    pub fn pids(&mut self) -> io::Result<Vec<i32>> {
        let pids = self.listing.read(self.root.directory())?;
        if pids.is_empty() {
            return Err(self.root.is_no_tree());
        }
        Ok(pids.to_vec())
    }

    /// Opens the directory of a process.
    ///
    /// # Errors
    ///
    /// There is none with this pid, or it may not be looked at.
    pub fn process(&mut self, pid: i32) -> Result<OpenProcess<'_>, ReadError> {
        let directory = self.root.open_process(pid)?;
        Ok(OpenProcess { reader: self, pid, directory, thread: None })
    }
}

impl OpenProcess<'_> {
    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Reads who it is and what memory it has; `None` where it has none: a thread of the kernel, or a
    /// process that has ended and was not yet reaped.
    ///
    /// # Errors
    ///
    /// The process has ended, may not be looked at, or its files cannot be understood.
    pub fn facts(&mut self) -> Result<Option<ProcessFacts>, ReadError> {
        if !self.reader.root.is_live() {
            return self.captured_facts();
        }
        self.facts_of_status()
    }

    fn facts_of_status(&mut self) -> Result<Option<ProcessFacts>, ReadError> {
        let ProcessReader { root, buffer, .. } = &mut *self.reader;
        let bytes = read_file(root, buffer, &self.directory, c"status")?;
        let status = parse_status(bytes)?;
        let mut facts = ProcessFacts {
            ppid: status.ppid.and_then(|ppid| i32::try_from(ppid).ok()),
            uid: status.euid.and_then(|uid| u32::try_from(uid).ok()),
            comm: Comm::new(&unescape(status.name)),
            memory: PartialMetrics::default(),
            has_status: true,
        };
        if status.vm_rss.is_some() {
            facts.memory = PartialMetrics::new(&status_metrics(&status)?);
            return Ok(Some(facts));
        }
        if status.threads.is_none_or(|threads| threads < 2) {
            return Ok(None);
        }
        // The kernel shows the memory of the first thread under the pid, which has ended.
        for tid in self.reader.listing.read(self.directory.open_tasks()?)?.to_vec() {
            let Ok(thread) = self.directory.open_thread(tid) else { continue };
            let ProcessReader { root, buffer, .. } = &mut *self.reader;
            let Ok(bytes) = read_file(root, buffer, &thread, c"status") else { continue };
            let status = parse_status(bytes)?;
            if status.vm_rss.is_some() {
                facts.memory = PartialMetrics::new(&status_metrics(&status)?);
                self.thread = Some(thread);
                return Ok(Some(facts));
            }
        }
        Ok(None)
    }

    /// The same for a captured tree, where files may be missing or of another moment. Which processes
    /// there are is what a sampler says too: those with a `stat`, and with a `statm` that is not all zero.
    fn captured_facts(&mut self) -> Result<Option<ProcessFacts>, ReadError> {
        let ProcessReader { root, buffer, host, .. } = &mut *self.reader;
        let stat = parse_stat(read_file(root, buffer, &self.directory, c"stat")?)?;
        if stat.is_kernel_thread() {
            return Ok(None);
        }
        let (ppid, comm) = (Some(stat.ppid), Comm::new(stat.comm));
        let threads = stat.num_threads;
        let statm = parse_statm(read_file(root, buffer, &self.directory, c"statm")?)?;
        if statm == Statm::default() {
            // A zombie, unless only its first thread has ended.
            return if threads < 2 { Ok(None) } else { self.facts_of_status() };
        }
        let memory = PartialMetrics::new(&statm_metrics(&statm, host));
        match self.facts_of_status() {
            Ok(Some(facts)) => Ok(Some(facts)),
            Ok(None) | Err(ReadError::Parse(_) | ReadError::Io(_)) => {
                Ok(Some(ProcessFacts { ppid, uid: None, comm, memory, has_status: false }))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the resident set alone; `None` where it has no memory.
    ///
    /// # Errors
    ///
    /// As for [`facts`](Self::facts).
    pub fn rss_bytes(&mut self) -> Result<Option<u64>, ReadError> {
        let ProcessReader { root, buffer, host, .. } = &mut *self.reader;
        let statm = parse_statm(read_file(root, buffer, &self.directory, c"statm")?)?;
        if statm.size.0 > 0 {
            return Ok(Some(host.bytes(statm.resident).unwrap_or(u64::MAX)));
        }
        // Perhaps only its first thread has ended.
        Ok(self.facts()?.and_then(|facts| facts.memory.get(Metric::Rss)))
    }

    /// Reads PSS and USS: the kernel walks the page tables, with the memory map of the process locked
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`facts`](Self::facts); a kernel before 4.14 has none; or [`ReadError::Stuck`].
    pub fn rollup(&mut self) -> Result<PartialMetrics, ReadError> {
        self.ask_of_memory(ROLLUP)?;
        let values = rollup_metrics(&parse_smaps_rollup(self.piece(0)?)?)?;
        Ok(PartialMetrics::new(&values))
    }

    /// Reads the arguments, redacted and cut as the options say, with a space between them; `None`
    /// where there are none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Stuck`]. That the arguments cannot be read otherwise is no error: there are none then.
    pub fn command(&mut self) -> Result<Option<String>, ReadError> {
        self.ask(CMDLINE)?;
        let rules = &self.reader.rules;
        let redacted = rules.redact(self.piece_unless_stuck(0)?.unwrap_or_default());
        Ok(Some(Identity::whole_command(rules.keep(&redacted))).filter(|line| !line.is_empty()))
    }

    /// Reads the variables that it was started with, each with a zero byte behind it.
    ///
    /// # Errors
    ///
    /// The process has ended, may not be looked at, or [`ReadError::Stuck`].
    pub fn environment(&mut self) -> Result<&[u8], ReadError> {
        self.ask(ENVIRON)?;
        self.piece(0)
    }

    /// Reads the control group: in the v1 memory hierarchy where there is one, else in v2.
    ///
    /// # Errors
    ///
    /// [`ReadError::Stuck`], while a lock of all control groups is held.
    pub fn cgroup(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        self.ask(CGROUP)?;
        let bytes = self.piece_unless_stuck(0)?.unwrap_or_default();
        Ok(memory_cgroup(bytes).map(<[u8]>::to_vec))
    }

    /// Reads what the process does: the name that the options give it, or else
    /// [`role`](crate::role()).
    ///
    /// # Errors
    ///
    /// [`ReadError::Stuck`]: without its arguments and its control group it would have another name.
    pub fn role(&mut self, comm: &Comm) -> Result<String, ReadError> {
        self.ask(IMAGE)?;
        let exe = self.piece_unless_stuck(0)?;
        let cgroup = self.piece_unless_stuck(1)?.and_then(memory_cgroup);
        let rules = &self.reader.rules;
        let redacted = rules.redact(self.piece_unless_stuck(2)?.unwrap_or_default());
        Ok(rules.role(comm, exe, &redacted, cgroup))
    }

    /// Reads the mappings. `smaps` costs the kernel, and the process, several times as much as
    /// [`rollup`](Self::rollup).
    ///
    /// # Errors
    ///
    /// As for [`rollup`](Self::rollup).
    pub fn mappings(&mut self) -> Result<Smaps<'_>, ReadError> {
        self.ask_of_memory(SMAPS)?;
        Ok(parse_smaps(self.piece(0)?))
    }

    /// Counts the mappings, from `maps`: for that the kernel looks at no page.
    ///
    /// # Errors
    ///
    /// As for [`rollup`](Self::rollup).
    pub fn count_mappings(&mut self) -> Result<usize, ReadError> {
        self.ask_of_memory(MAPS)?;
        Ok(memchr::memchr_iter(b'\n', self.piece(0)?).count())
    }

    /// Lets another thread read files that say what the process is.
    fn ask(&mut self, files: &'static [ProcFile]) -> Result<(), ReadError> {
        let directory = self.directory.duplicate()?;
        self.ask_in(directory, files)
    }

    /// Lets another thread read files about the memory, which is not shown under the pid where the first thread has
    /// ended.
    fn ask_of_memory(&mut self, files: &'static [ProcFile]) -> Result<(), ReadError> {
        let directory = self.thread.as_ref().unwrap_or(&self.directory).duplicate()?;
        self.ask_in(directory, files)
    }

    fn ask_in(
        &mut self,
        directory: ProcessDir,
        files: &'static [ProcFile],
    ) -> Result<(), ReadError> {
        let ProcessReader { readers, requests, answers, answer, .. } = &mut *self.reader;
        while readers.late().is_some() {}
        let key = u64::from(self.pid.unsigned_abs());
        if readers.is_stuck(key) {
            return Err(ReadError::Stuck);
        }
        requests.push(Request::new(key, directory, files, std::mem::take(answer)));
        readers.read(requests, answers, None);
        *answer = answers.pop().unwrap_or_default();
        Ok(())
    }

    /// Returns what was read of a file.
    fn piece(&self, number: usize) -> Result<&[u8], ReadError> {
        match self.reader.answer.piece(number) {
            Some(outcome) => outcome.map_err(|errno| file_error(&self.reader.root, errno)),
            None => Err(ReadError::Stuck),
        }
    }

    /// Returns what was read of a file; `None` where it could not be read.
    fn piece_unless_stuck(&self, number: usize) -> Result<Option<&[u8]>, ReadError> {
        match self.piece(number) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Stuck) => Err(ReadError::Stuck),
            Err(_) => Ok(None),
        }
    }
}

/// Undoes what the kernel does to a name in `status`: a newline is `\n` there, a backslash `\\`.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        plain.push(match (byte, rest.as_slice().first()) {
            (b'\\', Some(b'n')) => {
                rest.next();
                b'\n'
            }
            (b'\\', Some(b'\\')) => {
                rest.next();
                b'\\'
            }
            _ => byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_its_program_wrote_it() {
        for (escaped, plain) in [
            (&b"plain name"[..], &b"plain name"[..]),
            (b"a\\nb", b"a\nb"),
            (b"a\\\\nb", b"a\\nb"),
            (b"\\\\\\\\", b"\\\\"),
            (b"end\\", b"end\\"),
        ] {
            assert_eq!(unescape(escaped), plain);
        }
    }
}
