//! What smemcap's tar holds: `meminfo`, `version`, and of each process `PID/smaps`, `PID/cmdline` and
//! `PID/stat`. Nothing of it is ever written to disk under its own name.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::error::ParseError;
use crate::identity::Comm;
use crate::parse::{Meminfo, parse_meminfo, parse_smaps, parse_stat};
use crate::units::{ClockTicks, Kibibytes};

/// Entries of one tar: four for each of 65536 processes.
const MAX_ENTRIES: usize = 1 << 18;
/// Bytes of one tar, once it is unpacked: of a host with ten thousand processes it has one GiB.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes of one file in it: five times what a process with 65530 mappings has, which is the usual limit.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Bytes that are kept of all captures together until they are written: a million processes.
const MAX_KEPT_BYTES: u64 = 512 << 20;
/// Bytes of `stat` that are looked at: it is one line.
const MAX_STAT_BYTES: u64 = 4096;
/// Bytes of the arguments that are looked at, as a sampler does.
const MAX_CMDLINE_BYTES: u64 = 64 * 1024;

/// The sizes of a page that Linux has.
const PAGE_BYTES: [u64; 4] = [4096, 8192, 16_384, 65_536];

/// Why a file is no capture.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// It cannot be read, or its compression is damaged.
    Io(io::Error),
    /// It is no tar.
    NotATar,
    /// It ends in the middle of an entry.
    CutOff,
    /// An entry behind the first is no entry; the number counts from 1.
    Damaged(usize),
    /// It has more entries or more bytes than a capture can have.
    TooLarge(&'static str),
    /// The name of an entry leads outside of the tar.
    UnsafeName(String),
    /// A file in it is not what the kernel prints.
    Malformed(String, ParseError),
    /// It holds no process.
    NoProcess,
    /// Nothing is known of the memory of any process in it; the number is that of the processes.
    NoMemory(usize),
    /// It does not say when it was made, or gives a time that cannot be.
    NoTime,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotATar => f.write_str("it is no tar"),
            Self::CutOff => f.write_str("it is cut off"),
            Self::Damaged(entry) => write!(f, "its entry {entry} is damaged"),
            Self::TooLarge(what) => write!(f, "it has more than {what}"),
            Self::UnsafeName(name) => write!(f, "the name of its entry `{name}` leads outside"),
            Self::Malformed(name, error) => write!(f, "its `{name}` is damaged: {error}"),
            Self::NoProcess => f.write_str(
                "it holds no process: smemcap writes `PID/smaps`, `PID/cmdline` and `PID/stat` of each",
            ),
            Self::NoMemory(processes) => write!(
                f,
                "the `smaps` of all its processes ({processes}) are missing or empty: capture as root"
            ),
            Self::NoTime => f.write_str("it does not say when it was made, or gives a time after the year 2262"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Displayed as they are.
        None
    }
}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }
}

impl CaptureError {
    /// Describes what is wrong where the header of an entry cannot be read. The message of the tar crate has
    /// the bytes of the file in it, which a terminal should not see.
    fn in_header(error: io::Error, index: usize, at_end: bool) -> Self {
        match (error.kind(), index) {
            _ if at_end && index > 0 => Self::CutOff,
            (io::ErrorKind::Other, 0) => Self::NotATar,
            (io::ErrorKind::Other, _) => Self::Damaged(index + 1),
            _ => error.into(),
        }
    }
}

/// The memory of a machine at one instant.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) ts_ms: i64,
    /// The release of its kernel.
    pub(super) kernel: Option<String>,
    pub(super) meminfo: Option<Meminfo>,
    /// By pid.
    pub(super) processes: BTreeMap<i32, CapturedProcess>,
    /// Processes of which a file is missing or damaged.
    pub(super) unreadable: u32,
    /// Bytes in one page of its machine, where that can be told.
    pub(super) page_bytes: Option<u64>,
    /// Whether its time is not the one in it, but one later than that of the capture before.
    pub(super) is_shifted: bool,
    /// Whether the tar has an end mark. Without one it may have been cut off between two files.
    pub(super) has_end: bool,
}

/// One process of a capture.
#[derive(Debug)]
pub(super) struct CapturedProcess {
    pub(super) start: ClockTicks,
    pub(super) ppid: i32,
    pub(super) comm: Comm,
    pub(super) uid: Option<u32>,
    pub(super) cmdline: Vec<u8>,
    pub(super) minflt: u64,
    pub(super) majflt: u64,
    pub(super) utime: ClockTicks,
    pub(super) stime: ClockTicks,
    pub(super) sums: SmapsSums,
}

/// The sums over the mappings of a process, in bytes. What an old kernel does not say is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SmapsSums {
    pub(super) vsize: u64,
    pub(super) rss: u64,
    pub(super) pss: Option<u64>,
    pub(super) uss: u64,
    pub(super) anon: Option<u64>,
    pub(super) swap: Option<u64>,
    pub(super) swap_pss: Option<u64>,
    /// The smallest page size of a mapping.
    pub(super) page_bytes: Option<u64>,
}

impl Default for SmapsSums {
    fn default() -> Self {
        let (none, some) = (0, Some(0));
        Self {
            vsize: none,
            rss: none,
            pss: some,
            uss: none,
            anon: some,
            swap: some,
            swap_pss: some,
            page_bytes: None,
        }
    }
}

impl SmapsSums {
    /// Adds up the mappings; `None` where there is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, ParseError> {
        let mut sums = None;
        for mapping in parse_smaps(bytes) {
            let mapping = mapping?;
            // It belongs to no process, and is not counted by the kernel either.
            if mapping.path == b"[vsyscall]" {
                continue;
            }
            let sums: &mut Self = sums.get_or_insert_default();
            let uss = mapping.uss().ok_or(ParseError::out_of_range("Private_Dirty"))?;
            let add = |sum: u64, value: Kibibytes, field| {
                let bytes = value.bytes().and_then(|bytes| sum.checked_add(bytes));
                bytes.ok_or(ParseError::out_of_range(field))
            };
            sums.vsize = add(sums.vsize, mapping.size, "Size")?;
            sums.rss = add(sums.rss, mapping.rss, "Rss")?;
            sums.uss = add(sums.uss, uss, "Private_Dirty")?;
            for (sum, value, field) in [
                (&mut sums.pss, mapping.pss, "Pss"),
                (&mut sums.anon, mapping.anonymous, "Anonymous"),
                (&mut sums.swap, mapping.swap, "Swap"),
                (&mut sums.swap_pss, mapping.swap_pss, "SwapPss"),
            ] {
                // A sum that lacks a mapping is not known.
                *sum = sum.zip(value).map(|(sum, value)| add(sum, value, field)).transpose()?;
            }
            let page_bytes = mapping.kernel_page_size.and_then(Kibibytes::bytes);
            let page_bytes = page_bytes.filter(|bytes| PAGE_BYTES.contains(bytes));
            sums.page_bytes = [sums.page_bytes, page_bytes].into_iter().flatten().min();
        }
        Ok(sums)
    }
}

/// What is known of a process so far, while its files come.
#[derive(Default)]
struct Parts {
    uid: Option<u32>,
    cmdline: Vec<u8>,
    stat: Vec<u8>,
    /// `None` where there is no `smaps`; an error where it is damaged; no sums where it is empty.
    smaps: Option<Result<Option<SmapsSums>, ParseError>>,
}

/// What an entry is, by its name.
enum Name {
    Meminfo,
    Version,
    Process(i32, ProcessFile),
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProcessFile {
    Smaps,
    Cmdline,
    Stat,
}

/// Reads a tar from memory.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_bytes(bytes: &[u8]) {
    if let Ok(capture) = read_tar(bytes, &mut 0) {
        assert!(!capture.processes.is_empty());
    }
}

/// Reads a tar, which may be compressed with gzip, and adds to `kept_bytes` what it takes in memory.
pub(super) fn read_capture(path: &Path, kept_bytes: &mut u64) -> Result<Capture, CaptureError> {
    let file = memsample_beneath::open_regular(path)?;
    let modified = file.metadata()?.modified().ok();
    let mut input = BufReader::new(file);
    let capture = if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        read_tar(MultiGzDecoder::new(input), kept_bytes)
    } else {
        read_tar(input, kept_bytes)
    };
    let mut capture = capture?;
    if capture.ts_ms == 0 {
        // Made by a tool that keeps no times.
        let modified = modified.and_then(|time| jiff::Timestamp::try_from(time).ok());
        capture.ts_ms = modified.ok_or(CaptureError::NoTime)?.as_millisecond();
    }
    Ok(capture)
}

/// Reads the entries one after the other, as they come.
fn read_tar(input: impl Read, kept_bytes: &mut u64) -> Result<Capture, CaptureError> {
    let at_end = Cell::new(false);
    let mut archive = Archive::new(Bounded { input, left: MAX_BYTES, at_end: &at_end });
    let mut capture = Capture::default();
    let mut parts: BTreeMap<i32, Parts> = BTreeMap::new();
    let mut bytes = Vec::new();
    let mut time_s = 0;
    // As they are: a long name is not read into memory to be joined to the entry behind it.
    for (index, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry =
            entry.map_err(|error| CaptureError::in_header(error, index, at_end.get()))?;
        if index >= MAX_ENTRIES {
            return Err(CaptureError::TooLarge("262144 entries"));
        }
        let damaged = |_| CaptureError::Damaged(index + 1);
        let size = entry.header().entry_size().map_err(damaged)?;
        let name = name_of(&entry.path_bytes())?;
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        if !matches!(name, Name::Other) {
            time_s = time_s.max(entry.header().mtime().unwrap_or(0));
        }
        match name {
            Name::Meminfo => {
                read_entry(&mut entry, &mut bytes, size, u64::MAX)?;
                let meminfo = parse_meminfo(&bytes);
                capture.meminfo = Some(
                    meminfo
                        .map_err(|error| CaptureError::Malformed("meminfo".to_owned(), error))?,
                );
            }
            Name::Version => {
                read_entry(&mut entry, &mut bytes, size, u64::MAX)?;
                // `Linux version 6.1.0-13-amd64 (…`
                let words = String::from_utf8_lossy(&bytes);
                capture.kernel = words.split_whitespace().nth(2).map(str::to_owned);
            }
            Name::Process(pid, file) => {
                let kept = match file {
                    ProcessFile::Cmdline => MAX_CMDLINE_BYTES,
                    ProcessFile::Stat => MAX_STAT_BYTES,
                    ProcessFile::Smaps => u64::MAX,
                };
                read_entry(&mut entry, &mut bytes, size, kept)?;
                let process = parts.entry(pid).or_default();
                *kept_bytes += match file {
                    ProcessFile::Smaps => size_of::<CapturedProcess>() as u64,
                    ProcessFile::Cmdline | ProcessFile::Stat => bytes.len() as u64,
                };
                if *kept_bytes > MAX_KEPT_BYTES {
                    return Err(CaptureError::TooLarge("512 MiB to keep: import fewer at once"));
                }
                // The directory has that of root in what busybox writes; a file has the owner's.
                process.uid = entry.header().uid().ok().and_then(|uid| u32::try_from(uid).ok());
                match file {
                    ProcessFile::Smaps => process.smaps = Some(SmapsSums::parse(&bytes)),
                    ProcessFile::Cmdline => process.cmdline = bytes.clone(),
                    ProcessFile::Stat => process.stat = bytes.clone(),
                }
            }
            Name::Other => {}
        }
    }
    capture.has_end = !at_end.get();
    // Times are kept in nanoseconds too.
    let time_ms = i64::try_from(time_s).ok().and_then(|s| s.checked_mul(1000));
    capture.ts_ms =
        time_ms.filter(|ms| ms.checked_mul(1_000_000).is_some()).ok_or(CaptureError::NoTime)?;
    if parts.is_empty() {
        return Err(CaptureError::NoProcess);
    }
    let mut damaged = None;
    let mut resident_pages = 0_u64;
    for (pid, parts) in parts {
        damaged = damaged.or(parts.damage(pid));
        resident_pages = resident_pages.saturating_add(capture.add(pid, parts));
    }
    if capture.processes.is_empty() {
        let processes = capture.unreadable as usize;
        return Err(damaged.unwrap_or(CaptureError::NoMemory(processes)));
    }
    capture.page_bytes = capture.page_bytes(resident_pages);
    Ok(capture)
}

impl Capture {
    /// Takes a process over, if enough of it is known, and returns how many pages its `stat` says are
    /// resident.
    fn add(&mut self, pid: i32, parts: Parts) -> u64 {
        let Parts { uid, cmdline, stat, smaps } = parts;
        let Ok(stat) = parse_stat(&stat) else {
            self.unreadable += 1;
            return 0;
        };
        if stat.is_kernel_thread() {
            return 0;
        }
        // An empty one is that of a process that whoever captured might not look at, or of one without
        // memory: it ended, or is a thread of a kernel that does not say so.
        let Some(Ok(Some(sums))) = smaps else {
            let has_memory = stat.vsize_bytes > 0 || stat.num_threads > 1;
            self.unreadable += u32::from(has_memory || matches!(smaps, Some(Err(_))));
            return 0;
        };
        let process = CapturedProcess {
            start: stat.starttime,
            ppid: stat.ppid,
            comm: Comm::new(stat.comm),
            uid,
            cmdline,
            minflt: stat.minflt,
            majflt: stat.majflt,
            utime: stat.utime,
            stime: stat.stime,
            sums,
        };
        self.processes.insert(pid, process);
        stat.rss.0
    }

    /// Finds the size of a page: `smaps` says it since Linux 2.6.29. Before, it is what the same memory is
    /// in bytes there and in pages in `stat`, a moment apart.
    fn page_bytes(&self, resident_pages: u64) -> Option<u64> {
        let said = self.processes.values().filter_map(|process| process.sums.page_bytes).min();
        said.or_else(|| {
            let bytes: u128 =
                self.processes.values().map(|process| u128::from(process.sums.rss)).sum();
            let is_near = |page_bytes: &u64| {
                let of_pages = u128::from(resident_pages) * u128::from(*page_bytes);
                of_pages > 0 && of_pages.abs_diff(bytes) <= of_pages / 5
            };
            PAGE_BYTES.into_iter().find(is_near)
        })
    }
}

impl Parts {
    /// Returns what is wrong with a file of the process.
    fn damage(&self, pid: i32) -> Option<CaptureError> {
        match &self.smaps {
            Some(Err(error)) => Some(CaptureError::Malformed(format!("{pid}/smaps"), *error)),
            _ => None,
        }
    }
}

/// Reads an entry to its end, and keeps the first `kept` bytes.
fn read_entry(
    entry: &mut Entry<'_, impl Read>,
    bytes: &mut Vec<u8>,
    size: u64,
    kept: u64,
) -> Result<(), CaptureError> {
    if size > MAX_FILE_BYTES {
        return Err(CaptureError::TooLarge("256 MiB in one file"));
    }
    bytes.clear();
    // It grows with what is there, whatever the header says.
    let read = entry.by_ref().take(kept.min(size)).read_to_end(bytes)?;
    let rest = io::copy(entry, &mut io::sink())?;
    if read as u64 + rest != size {
        return Err(CaptureError::CutOff);
    }
    Ok(())
}

/// Returns what an entry is. It may stand below `./`, `/proc/` or `proc/`.
fn name_of(name: &[u8]) -> Result<Name, CaptureError> {
    let parts = || name.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    if parts().any(|part| part == b"..") {
        return Err(CaptureError::UnsafeName(crate::text(name)));
    }
    let mut parts = parts().skip_while(|part| *part == b"proc");
    let pid = |part: &[u8]| {
        let pid = std::str::from_utf8(part).ok()?.parse::<i32>().ok()?;
        (pid > 0).then_some(pid)
    };
    Ok(match (parts.next(), parts.next(), parts.next()) {
        (Some(b"meminfo"), None, None) => Name::Meminfo,
        (Some(b"version"), None, None) => Name::Version,
        (Some(directory), Some(file), None) => match (pid(directory), file) {
            (Some(pid), b"smaps") => Name::Process(pid, ProcessFile::Smaps),
            (Some(pid), b"cmdline") => Name::Process(pid, ProcessFile::Cmdline),
            (Some(pid), b"stat") => Name::Process(pid, ProcessFile::Stat),
            _ => Name::Other,
        },
        _ => Name::Other,
    })
}

/// Ends with an error where a tar is too large, and knows whether it was read to its very end.
struct Bounded<'a, R> {
    input: R,
    left: u64,
    at_end: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let message = "it has more than 4 GiB once it is unpacked";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.input.read(buffer.get_mut(..length).unwrap_or_default())?;
        self.left -= read as u64;
        self.at_end.set(self.at_end.get() || (read == 0 && length > 0));
        Ok(read)
    }
}
