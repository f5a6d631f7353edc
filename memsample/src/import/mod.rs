//! Captures of other tools as recordings.
//!
//! ```text
//! capture.tar ─ capture ─▶ processes at one instant ─ batch ─▶ recording
//! ```
//!
//! smem replays the tar of smemcap, as far as it does not crash; as a recording it can be viewed and
//! asked like any other.

mod capture;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use capture::CaptureError;
#[cfg(feature = "fuzzing")]
pub(crate) use capture::read_bytes;
use capture::{Capture, CapturedProcess, SmapsSums, read_capture};

use crate::batch::{Batch, BatchTick, Change, Row};
use crate::counts::SweepCounts;
use crate::host::Host;
use crate::identity::{Comm, Identity, ProcessId};
use crate::identity_rules::IdentityRules;
use crate::metric::{Files, Metric, Metrics};
use crate::recording::{
    ClockAnchor, End, ForksBy, Machine, Manifest, Provenance, Recording, RecordingDirectory,
    RecordingState, RecordingWriter, Settings, SweepsFrom, file_names, new_recording_id,
};
use crate::sampler::SamplerOptions;
use crate::schema::FORMAT_VERSION;
use crate::schema::KnownPss;
use crate::schema::Totals;
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;
use crate::scope::Scope;
use crate::slot::Slot;
use crate::units::ClockTicks;

/// What is known of each process of a capture, whatever its kernel.
const FILES: Files = Files::SMAPS.union(Files::STAT);
/// What kernels say of each process since Linux 4.3.
const ALL_FILES: Files = Files::IMPORTED.union(Files::STAT);

/// Captures in one recording: a week of one each five minutes.
const MAX_CAPTURES: usize = 2048;

/// A batch is written when it is this large: some ticks of many processes, or many of some.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Why captures did not become a recording. Nothing is left behind then.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// A file is not a capture.
    Capture(PathBuf, CaptureError),
    /// A capture was given twice.
    Twice(PathBuf),
    /// There are none, or more than 2048.
    Count(usize),
    /// There is a file or a directory at the path of the recording.
    Exists(PathBuf),
    /// The recording could not be written.
    Write(PathBuf, io::Error),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(path, error) => {
                write!(f, "`{}` is not a capture of smemcap: {error}", path.display())
            }
            Self::Twice(path) => write!(f, "`{}` was given twice", path.display()),
            Self::Count(count) => {
                write!(
                    f,
                    "{count} captures cannot be one recording: it takes from 1 to {MAX_CAPTURES}"
                )
            }
            Self::Exists(path) => {
                write!(f, "`{}` exists: choose another name, or remove it", path.display())
            }
            Self::Write(path, _) => write!(f, "cannot write the recording `{}`", path.display()),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(_, error) => Some(error),
            // Displayed as it is.
            Self::Capture(..) | Self::Twice(_) | Self::Count(_) | Self::Exists(_) => None,
        }
    }
}

/// Makes a recording at `path`, which must not exist, of captures that smemcap wrote: tar files, plain
/// or compressed with gzip, in any order. Each becomes one tick at the time in its headers; those of the
/// same second keep the order in which they are given, one millisecond apart.
///
/// Of `options` it takes what is recorded of arguments and the names of roles, and the tick rate of the
/// captured machine. A capture has neither high-water marks nor control groups nor the path of the
/// executable: they are null, and so is what an old kernel does not say: `SwapPss` before Linux 4.3, and
/// `Anonymous`, `Swap` and `Pss` of early 2.6 kernels. Processes of which `smaps` or `stat` is missing, empty or damaged are
/// counted as unreadable.
///
/// # Errors
///
/// A capture is damaged, cut off, or larger than one can be (4 GiB, 262144 entries); one was given twice;
/// or the recording cannot be written. Nothing is left behind then.
pub fn import(
    captures: &[PathBuf],
    path: &Path,
    options: &SamplerOptions,
) -> Result<Recording, ImportError> {
    if !(1..=MAX_CAPTURES).contains(&captures.len()) {
        return Err(ImportError::Count(captures.len()));
    }
    let mut known = HashSet::new();
    for path in captures {
        let file = path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        if file.is_ok_and(|file| !known.insert(file)) {
            return Err(ImportError::Twice(path.clone()));
        }
    }
    // All are read before anything is written. Of each only the sums are kept.
    let mut read = Vec::with_capacity(captures.len());
    let mut kept_bytes = 0;
    for path in captures {
        let capture = read_capture(path, &mut kept_bytes);
        read.push(capture.map_err(|error| ImportError::Capture(path.clone(), error))?);
    }
    // Of the same second: as they were given.
    read.sort_by_key(|capture| capture.ts_ms);
    let mut last_ms = None;
    for capture in &mut read {
        let earliest_ms = last_ms.map_or(i64::MIN, |last_ms: i64| last_ms.saturating_add(1));
        capture.is_shifted = capture.ts_ms < earliest_ms;
        capture.ts_ms = capture.ts_ms.max(earliest_ms);
        last_ms = Some(capture.ts_ms);
    }
    let captures = read;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => ImportError::Exists(path.to_owned()),
        _ => ImportError::Write(path.to_owned(), error),
    };
    let directory = RecordingDirectory::create(path).map_err(failed)?;
    match write(&directory, &captures, options) {
        Ok(manifest) => Ok(Recording::from_parts(path, manifest)),
        Err(error) => {
            let _ = directory.remove();
            Err(failed(error))
        }
    }
}

fn write(
    directory: &RecordingDirectory,
    captures: &[Capture],
    options: &SamplerOptions,
) -> io::Result<Manifest> {
    let lock = directory.lock()?.ok_or_else(|| io::Error::other("another program writes it"))?;
    let manifest = manifest(directory.path(), captures, options)?;
    let first_ms = captures.first().map_or(0, |capture| capture.ts_ms);
    let mut writer = RecordingWriter::create(directory.clone(), lock, manifest)?;
    let mut population = Population::new(options);
    let mut batch = Batch::default();
    for capture in captures {
        population.advance(capture, first_ms, &mut batch);
        // Many at once, so that the rows of a process stand together.
        if batch.memory_bytes() >= MAX_BATCH_BYTES {
            writer.append(&batch)?;
            batch.clear();
        }
    }
    if !batch.is_empty() {
        writer.append(&batch)?;
    }
    writer.close_assembled(End::Imported, RecordingState::Closed)
}

/// Who is in the recording, from one capture to the next.
struct Population<'a> {
    rules: &'a IdentityRules,
    host: Host,
    /// By pid and start, which together identify a process.
    known: HashMap<(i32, ClockTicks), KnownImage>,
    free: Vec<Slot>,
    processes: u64,
    slots: u32,
}

/// A process that an earlier capture had, or the present one has.
struct KnownImage {
    slot: Slot,
    process: ProcessId,
    comm: Comm,
}

impl<'a> Population<'a> {
    fn new(options: &'a SamplerOptions) -> Self {
        Self {
            rules: options.identity_rules(),
            host: options.host_constants(),
            known: HashMap::new(),
            free: Vec::new(),
            processes: 0,
            slots: 0,
        }
    }

    /// Turns a capture into a tick.
    fn advance(&mut self, capture: &Capture, first_ms: i64, batch: &mut Batch) {
        let changes = &mut batch.changes;
        // A batch has those of several ticks.
        let before = changes.len();
        let is_there = |(pid, start): &(i32, ClockTicks)| {
            capture.processes.get(pid).is_some_and(|process| process.start == *start)
        };
        let mut ended: Vec<Slot> = Vec::new();
        self.known.retain(|process, known| {
            let stays = is_there(process);
            ended.extend((!stays).then_some(known.slot));
            stays
        });
        let mut counts = SweepCounts {
            processes: count(capture.processes.len()),
            gone: count(ended.len()),
            unreadable: capture.unreadable,
            ..SweepCounts::default()
        };
        changes.extend(ended.iter().copied().map(Change::End));
        self.free.append(&mut ended);
        let newcomers = self.take_newcomers(capture);
        counts.born = count(newcomers.len());
        let mut known_pss = KnownPss::default();
        for (&pid, process) in &capture.processes {
            let Some(known) = self.known.get_mut(&(pid, process.start)) else { continue };
            let slot = known.slot;
            if newcomers.contains(&pid) {
                let id = known.process;
                let identity = Arc::new(self.identity(id, pid, process));
                changes.push(Change::Begin(slot, identity, self.parent(capture, pid, process)));
            } else if known.comm != process.comm {
                known.comm = process.comm;
                changes.push(Change::Rename(slot, process.comm));
            }
            if let Some(pss) = process.sums.pss {
                known_pss.known_bytes = known_pss.known_bytes.saturating_add(pss);
                known_pss.known_processes += 1;
            }
            let (files, metrics) = metrics(process, &self.host);
            changes.push(Change::Row(slot, Row { files, metrics }));
        }
        counts.rollups_read = known_pss.known_processes;
        (known_pss.oldest_ms, known_pss.mean_age_ms) = (Some(0), Some(0));
        // What is missing has an RSS that is not known, so a share would look better than it is.
        let is_whole = capture.unreadable == 0 && known_pss.known_processes == counts.processes;
        let pss = is_whole.then_some(known_pss);
        let ts_ms = capture.ts_ms;
        batch.system.push(SystemSample {
            ts_ms,
            meminfo: capture.meminfo,
            pss,
            ..SystemSample::default()
        });
        // Since the first capture: how long the machine had been running is not in it.
        let planned_ns = u64::try_from(ts_ms - first_ms).unwrap_or(0).saturating_mul(1_000_000);
        let tick = Tick { ts_ms, planned_ns, began_ns: planned_ns, counts, ..Tick::default() };
        let changes = count(changes.len() - before);
        batch.ticks.push(BatchTick { tick, common_files: Some(ALL_FILES), changes });
    }

    /// Gives a slot and a key to each process that the capture before did not have, and returns their pids. All have
    /// them before the first is written, since a child may have a smaller pid than its parent.
    fn take_newcomers(&mut self, capture: &Capture) -> BTreeSet<i32> {
        let mut newcomers = BTreeSet::new();
        for (&pid, process) in &capture.processes {
            let Entry::Vacant(vacant) = self.known.entry((pid, process.start)) else { continue };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots += 1;
                Slot(self.slots - 1)
            });
            self.processes += 1;
            let comm = process.comm;
            vacant.insert(KnownImage { slot, process: ProcessId(self.processes), comm });
            newcomers.insert(pid);
        }
        newcomers
    }

    /// Returns the parent of a process, where the capture has it.
    fn parent(&self, capture: &Capture, pid: i32, process: &CapturedProcess) -> Option<ProcessId> {
        let parent = capture.processes.get(&process.ppid).filter(|_| process.ppid != pid)?;
        let known = self.known.get(&(process.ppid, parent.start))?;
        (parent.start <= process.start).then_some(known.process)
    }

    fn identity(&self, id: ProcessId, pid: i32, process: &CapturedProcess) -> Identity {
        let redacted = self.rules.redact(&process.cmdline);
        let kept = self.rules.keep(&redacted);
        Identity {
            process: id,
            pid,
            start: process.start,
            start_ns: self.host.nanos(process.start).unwrap_or(u64::MAX),
            exec: 0,
            ppid: process.ppid,
            uid: process.uid,
            comm: process.comm,
            exe: None,
            cmdline: kept.get(..Identity::MAX_CMDLINE_BYTES).unwrap_or(kept).to_vec(),
            cgroup: None,
            moved: false,
            role: self.rules.role(&process.comm, None, &redacted, None),
            replaced_max_rss_bytes: None,
            memory_map: None,
        }
    }
}

/// Returns what is known of a process: the numbers, and which of them there are.
fn metrics(process: &CapturedProcess, host: &Host) -> (Files, Metrics) {
    let CapturedProcess { sums, minflt, majflt, utime, stime, .. } = process;
    let nanos = |ticks| host.nanos(ticks).unwrap_or(u64::MAX);
    let mut metrics = Metrics::default();
    let mut files = FILES;
    for (metric, value, file) in [
        (Metric::Shared, sums.anon.map(|anon| sums.rss.saturating_sub(anon)), Files::SMAPS_ANON),
        (Metric::Anon, sums.anon, Files::SMAPS_ANON),
        (Metric::Swap, sums.swap, Files::SMAPS_SWAP),
        (Metric::Pss, sums.pss, Files::SMAPS_PSS),
        (Metric::SwapPss, sums.swap_pss, Files::SMAPS_SWAP_PSS),
    ] {
        if let Some(value) = value {
            metrics.set(metric, value);
            files |= file;
        }
    }
    for (metric, value) in [
        (Metric::Rss, sums.rss),
        (Metric::Vsize, sums.vsize),
        (Metric::Uss, sums.uss),
        (Metric::Minflt, *minflt),
        (Metric::Majflt, *majflt),
        (Metric::Utime, nanos(*utime)),
        (Metric::Stime, nanos(*stime)),
    ] {
        metrics.set(metric, value);
    }
    (files, metrics)
}

/// Describes what the kernels of some captures do not say, as columns.
fn not_said(captures: &[Capture]) -> Option<String> {
    type Sum = fn(&SmapsSums) -> Option<u64>;
    let sums: [(&str, &str, Sum); 4] = [
        ("Pss", "`pss_bytes`", |sums| sums.pss),
        ("Anonymous", "`anon_bytes`, `shared_bytes`", |sums| sums.anon),
        ("Swap", "`swap_bytes`", |sums| sums.swap),
        ("SwapPss", "`swap_pss_bytes`", |sums| sums.swap_pss),
    ];
    let lacks = |capture: &&Capture, sum: Sum| {
        capture.processes.values().any(|process| sum(&process.sums).is_none())
    };
    let mut lines = Vec::new();
    let mut columns = Vec::new();
    let mut most = 0;
    for (line, of, sum) in sums {
        let lacking = captures.iter().filter(|capture| lacks(capture, sum)).count();
        if lacking > 0 {
            lines.push(line);
            columns.push(of);
            most = most.max(lacking);
        }
    }
    let (lines, columns) = (lines.join(", "), columns.join(", "));
    (most > 0).then(|| {
        format!(
            "the kernel of {most} of {} captures is too old for the lines {lines} of `smaps`: {columns} of their \
             processes are not known",
            captures.len()
        )
    })
}

fn manifest(path: &Path, captures: &[Capture], options: &SamplerOptions) -> io::Result<Manifest> {
    let first_ms = captures.first().map_or(0, |capture| capture.ts_ms);
    let started = jiff::Timestamp::from_millisecond(first_ms)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let gaps = captures.windows(2).filter_map(|pair| match pair {
        [one, other] if !other.is_shifted => u64::try_from(other.ts_ms - one.ts_ms).ok(),
        _ => None,
    });
    // From one tick to the next at least; of a single one the resolution of its time.
    let interval_ms = gaps.min().unwrap_or(1000).max(1000);
    let rules = options.identity_rules();
    let settings = Settings {
        interval_ms,
        detail_interval_ms: None,
        pss_interval_ms: Some(interval_ms),
        pss_budget: None,
        duration_ms: None,
        max_bytes: None,
        max_idle_ms: None,
        target: Scope::Machine,
        proc_root: PathBuf::new(),
        command: None,
        arguments: rules.kept,
        redactions: rules.redactions.len(),
        role_rules: rules.roles.len(),
        forks: ForksBy::Listing,
        sweeps: SweepsFrom::Proc,
        exits: false,
        cgroup_interval_ms: None,
        supported_files: file_names(FILES),
        max_descriptors: 0,
    };
    let unknown = || "unknown".to_owned();
    let kernel = captures.iter().find_map(|capture| capture.kernel.clone());
    let host = options.host_constants();
    let page_bytes = captures.iter().find_map(|capture| capture.page_bytes);
    let machine = Machine {
        hostname: unknown(),
        kernel: kernel.unwrap_or_else(unknown),
        architecture: unknown(),
        boot_id: None,
        cpus: None,
        cpus_online: None,
        page_bytes,
        ticks_per_second: host.ticks_per_second.get(),
    };
    let unknown = match page_bytes {
        None => "`cpus` and `page_bytes` of the captured machine are not known",
        Some(_) => "`cpus` of the captured machine are not known",
    };
    let mut notes = vec![format!(
        "imported from captures of smemcap: times are exact to the second, `planned_ns` and `began_ns` count from the \
         first capture, and {unknown}"
    )];
    notes.extend(not_said(captures));
    let shifted = captures.iter().filter(|capture| capture.is_shifted).count();
    if shifted > 0 {
        notes.push(format!(
            "{shifted} of {} captures are of the same second as the one before: their order is that in which they were \
             given, and the millisecond between them was not measured",
            captures.len()
        ));
    }
    let cut = captures.iter().filter(|capture| !capture.has_end).count();
    if cut > 0 {
        notes.push(format!(
            "{cut} of {} captures have no end mark, as smemcap writes them: whether processes are missing at their \
             end cannot be known",
            captures.len()
        ));
    }
    let unreadable: u32 = captures.iter().map(|capture| capture.unreadable).sum();
    if unreadable > 0 {
        notes.push(format!(
            "{unreadable} processes have no `smaps` or no `stat`, or a damaged one, and no row: whoever captured may not \
             have been allowed to read them"
        ));
    }
    let provenance = Provenance {
        format: FORMAT_VERSION,
        id: new_recording_id(started),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        memsample: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        clock: ClockAnchor { boot_ns: 0, utc_ns: first_ms.saturating_mul(1_000_000) },
        labels: BTreeMap::new(),
        settings,
        machine,
        cut: None,
        anonymized: false,
    };
    Ok(Manifest {
        provenance,
        state: RecordingState::Recording,
        end: None,
        last_tick: None,
        totals: Totals::default(),
        files: BTreeMap::new(),
        recorder: None,
        command_exit_code: None,
        notes,
    })
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
