//! Reading processes one after another, each file only when it is asked for.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::error::ReadError;
use crate::host::Host;
use crate::identity::{Comm, Identity};
use crate::identity_rules::IdentityRules;
use crate::metric::Metric;
use crate::parse::{
    Smaps, Statm, parse_smaps, parse_smaps_rollup, parse_stat, parse_statm, parse_status,
};
use crate::proc::{Listing, ProcRoot, ProcessDir, ReadBuffer};
use crate::sampler::{
    SamplerOptions, memory_cgroup, read_file, rollup_metrics, statm_metrics, status_metrics,
};

/// No process has as much text in `smaps`: it would be a million mappings. A crafted tree must not
/// fill the memory.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// The kernel gives `smaps` and `maps` by the page; most of them are whole in this.
const TEXT_BYTES: usize = 64 * 1024;

/// Reads processes one after another, into memory that it uses again.
///
/// For a single look at a machine, where a [`Sampler`](crate::Sampler) is for many: nothing is kept
/// open, and a file that is not asked for is not read.
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
    text: Vec<u8>,
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
            text: Vec::new(),
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
    /// As for [`facts`](Self::facts); a kernel before 4.14 has none.
    pub fn rollup(&mut self) -> Result<PartialMetrics, ReadError> {
        let ProcessReader { root, buffer, .. } = &mut *self.reader;
        let directory = self.thread.as_ref().unwrap_or(&self.directory);
        let bytes = read_file(root, buffer, directory, c"smaps_rollup")?;
        let values = rollup_metrics(&parse_smaps_rollup(bytes)?)?;
        Ok(PartialMetrics::new(&values))
    }

    /// Reads the arguments, redacted and cut as the options say, with a space between them; `None`
    /// where there are none.
    pub fn command(&mut self) -> Option<String> {
        let cmdline = self.read_text(c"cmdline").map(<[u8]>::to_vec).unwrap_or_default();
        let rules = &self.reader.rules;
        let redacted = rules.redact(&cmdline);
        Some(Identity::whole_command(rules.keep(&redacted))).filter(|line| !line.is_empty())
    }

    /// Reads the control group: in the v1 memory hierarchy where there is one, else in v2.
    pub fn cgroup(&mut self) -> Option<Vec<u8>> {
        let ProcessReader { root, buffer, .. } = &mut *self.reader;
        let bytes = read_file(root, buffer, &self.directory, c"cgroup").ok()?;
        memory_cgroup(bytes).map(<[u8]>::to_vec)
    }

    /// Reads what the process does: the name that the options give it, or else
    /// [`role`](crate::role()).
    pub fn role(&mut self, comm: &Comm) -> String {
        let cgroup = self.cgroup();
        let ProcessReader { root, buffer, rules, .. } = &mut *self.reader;
        let cmdline = read_file(root, buffer, &self.directory, c"cmdline").unwrap_or_default();
        let redacted = rules.redact(cmdline);
        let exe = self.directory.read_exe(buffer).ok();
        rules.role(comm, exe, &redacted, cgroup.as_deref())
    }

    /// Reads the mappings. `smaps` costs the kernel, and the process, several times as much as
    /// [`rollup`](Self::rollup).
    ///
    /// # Errors
    ///
    /// As for [`facts`](Self::facts).
    pub fn mappings(&mut self) -> Result<Smaps<'_>, ReadError> {
        Ok(parse_smaps(self.read_text(c"smaps")?))
    }

    /// Counts the mappings, from `maps`: for that the kernel looks at no page.
    ///
    /// # Errors
    ///
    /// As for [`facts`](Self::facts).
    pub fn count_mappings(&mut self) -> Result<usize, ReadError> {
        Ok(memchr::memchr_iter(b'\n', self.read_text(c"maps")?).count())
    }

    /// Reads a file of any length.
    fn read_text(&mut self, name: &CStr) -> Result<&[u8], ReadError> {
        let ProcessReader { root, text, .. } = &mut *self.reader;
        let directory = self.thread.as_ref().unwrap_or(&self.directory);
        let file: OwnedFd = directory.open_file(name).map_err(|errno| match errno {
            // A captured tree lacks the file; a live process had it, and has ended.
            Errno::NOENT if !root.is_live() => ReadError::Io(errno.into()),
            errno => errno.into(),
        })?;
        let mut length = 0;
        while length < MAX_TEXT_BYTES {
            if length == text.len() {
                text.resize((2 * length).max(TEXT_BYTES), 0);
            }
            match rustix::io::read(&file, text.get_mut(length..).unwrap_or_default())? {
                0 => break,
                read => length += read,
            }
        }
        Ok(text.get(..length).unwrap_or_default())
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
