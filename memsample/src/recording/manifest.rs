//! `recording.json`: what was recorded, where, when and how.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::{Host, cpus_online};
use crate::identity_rules::KeptArguments;
use crate::metric::Files;
use crate::schema::FORMAT_VERSION;
use crate::schema::Totals;
use crate::scope::Scope;
use memsample_beneath::HeldDirectory;

/// The contents of `recording.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What was recorded, where and how.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// Whether the recording is whole.
    pub state: RecordingState,
    /// Why it ended; absent while it is being recorded.
    pub end: Option<End>,
    /// The last tick, as of the last time this file was written.
    pub last_tick: Option<Timestamp>,
    /// What it holds and lacks, as of the last time this file was written.
    pub totals: Totals,
    /// How many files each table has that has more than one, once the recording is whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, u32>,
    /// What the recorder itself used; absent while it is being recorded and after a crash.
    pub recorder: Option<RecorderUsage>,
    /// The exit code of the recorded command, or 128 and its signal.
    pub command_exit_code: Option<i32>,
    /// What the reader must know: what this machine or these rights did not allow.
    pub notes: Vec<String>,
}

/// What was recorded, where and how: all that is known at the start. Also in the key-value metadata of
/// every Parquet file, as `memsample.provenance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of the format; see [`FORMAT_VERSION`].
    pub format: u32,
    /// Which recording it is, in this and every other place: a random UUID of version 7, of which later ones sort
    /// behind earlier ones. The column `recording` of every table.
    pub id: String,
    /// The name that the user gave, or one made of the time.
    pub name: String,
    /// The version of this program.
    pub memsample: String,
    /// When it began.
    pub started: Timestamp,
    /// The instant that ties the clock since boot to UTC, for the whole recording.
    pub clock: ClockAnchor,
    /// How it was recorded.
    pub settings: Settings,
    /// What the caller wanted to find here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// Of which recording it is a span; absent of one that was not cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Whether names, arguments, paths and users are pseudonyms.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymized: bool,
}

/// The span that was cut out of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The `id` of the recording that it was cut out of.
    pub recording: String,
    /// The begin of the span, which belongs to it.
    pub from: Timestamp,
    /// The end of the span, which belongs to it.
    pub to: Timestamp,
    /// The first tick of that recording.
    pub first_tick: Timestamp,
    /// The last tick of that recording.
    pub last_tick: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Whether a recording is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordingState {
    /// It is being written, or its recorder died: then it can be recovered.
    Recording,
    /// It was closed by its recorder.
    Closed,
    /// Its recorder died, and what it had written was put together later.
    Recovered,
}

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// It was stopped.
    Stopped,
    /// Its duration was over.
    Duration,
    /// Its files had come to as many bytes as they may.
    Size,
    /// Nobody had taken an interest in it for as long as was allowed.
    Idle,
    /// The disk, or the quota, was full.
    DiskFull,
    /// It could not be written for another reason.
    WriteFailed(String),
    /// Processes could not be sampled any more.
    SamplingFailed(String),
    /// Its recorder died.
    Crashed,
    /// It was not recorded here, but made of captures.
    Imported,
    /// It was cut out of a flight recorder, which continues.
    Dumped,
    /// It is a span of another recording, which goes on behind it.
    Cut,
}

/// The instant that ties two clocks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnchor {
    /// Nanoseconds since boot, suspended time included.
    pub boot_ns: u64,
    /// The same instant, in nanoseconds since 1970 in UTC.
    pub utc_ns: i64,
}

impl ClockAnchor {
    /// Returns the UTC of an instant since boot, in milliseconds.
    #[must_use]
    pub fn utc_ms(&self, boot_ns: u64) -> i64 {
        let since_anchor = i128::from(boot_ns) - i128::from(self.boot_ns);
        let utc_ns = i128::from(self.utc_ns) + since_anchor;
        i64::try_from(utc_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }
}

/// How a recording was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// From one tick to the next, in milliseconds.
    pub interval_ms: u64,
    /// From one reading of `status` and `stat` to the next, in milliseconds; absent: never.
    pub detail_interval_ms: Option<u64>,
    /// From one reading of `smaps_rollup` to the next, in milliseconds; absent: never.
    pub pss_interval_ms: Option<u64>,
    /// The share of one CPU within which `smaps_rollup` is read of the processes that changed most;
    /// absent: not so.
    #[serde(default)]
    pub pss_budget: Option<f64>,
    /// How long to record, in milliseconds; absent: until stopped.
    pub duration_ms: Option<u64>,
    /// The size of the files at which it ends automatically; absent: none.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// The time without interest after which it ends automatically, in milliseconds; absent: none.
    #[serde(default)]
    pub max_idle_ms: Option<u64>,
    /// Which processes are recorded: `"machine"`, `{"tree": {"pid": 1}}` or `{"cgroup": "/path"}`.
    #[serde(default)]
    pub target: Scope,
    /// The tree that was read.
    pub proc_root: PathBuf,
    /// The command that was recorded, as far as arguments are.
    pub command: Option<Vec<String>>,
    /// What was recorded of the arguments of processes.
    #[serde(default)]
    pub arguments: KeptArguments,
    /// How many patterns took something out of the arguments. Not which: they may be secret.
    #[serde(default)]
    pub redactions: usize,
    /// How many rules of the configuration name roles.
    #[serde(default)]
    pub role_rules: usize,
    /// How new processes are found.
    #[serde(default)]
    pub forks: ForksBy,
    /// Where the numbers of processes that `statm`, `status` and `stat` have were read; a note says of which not.
    #[serde(default)]
    pub sweeps: SweepsFrom,
    /// Whether the kernel reported exits: the table `exits`.
    #[serde(default)]
    pub exits: bool,
    /// From one reading of the control groups to the next, in milliseconds; absent: never, or there
    /// are none to be seen.
    #[serde(default)]
    pub cgroup_interval_ms: Option<u64>,
    /// The files that the kernel has, of those that were asked for.
    pub supported_files: Vec<String>,
    /// The descriptors that may be kept.
    pub max_descriptors: usize,
}

/// How new processes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ForksBy {
    /// The kernel reports every fork and exec.
    ProcConnector,
    /// By the pids that were given since the last tick, and by listing `/proc`.
    #[default]
    Listing,
}

/// Where the numbers of processes were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SweepsFrom {
    /// The files of each process in `/proc`.
    #[default]
    Proc,
    /// A pass of a BPF program over all processes.
    Bpf,
}

/// The machine that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub hostname: String,
    /// The release of its kernel.
    pub kernel: String,
    /// The architecture, as the kernel names it.
    pub architecture: String,
    /// The random number of this boot, which with pid and start time names a process.
    pub boot_id: Option<String>,
    /// The CPUs on which the recorder may run; absent where unknown, as of captures.
    pub cpus: Option<usize>,
    /// The CPUs that are online; on each the kernel keeps a part of what processes have resident.
    #[serde(default)]
    pub cpus_online: Option<usize>,
    /// Bytes in one page; absent where a capture does not tell.
    pub page_bytes: Option<u64>,
    /// Clock ticks in one second.
    pub ticks_per_second: u64,
}

impl Machine {
    /// Describes the machine this program runs on, with the constants of the tree that is read.
    #[must_use]
    pub fn current(host: Host) -> Self {
        let uname = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self {
            hostname: text(uname.nodename()),
            kernel: text(uname.release()),
            architecture: text(uname.machine()),
            boot_id: boot_id.map(|boot_id| boot_id.trim().to_owned()),
            cpus: std::thread::available_parallelism().ok().map(usize::from),
            cpus_online: cpus_online(),
            page_bytes: Some(host.page_bytes.get()),
            ticks_per_second: host.ticks_per_second.get(),
        }
    }
}

/// What the recorder itself used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecorderUsage {
    /// How long it recorded: the time from the start to the end, in seconds.
    #[serde(default)]
    pub elapsed_seconds: f64,
    /// CPU time of the whole program while it recorded, all threads.
    pub cpu_seconds: f64,
    /// That of the thread that reads.
    #[serde(default)]
    pub sampling_cpu_seconds: f64,
    /// That of the thread that encodes and writes.
    #[serde(default)]
    pub writing_cpu_seconds: f64,
    /// What was written to the journal, which is gone when the recording is closed.
    #[serde(default)]
    pub journal_bytes: u64,
    /// The largest resident set of the program, from `VmHWM`.
    pub peak_rss_bytes: Option<u64>,
    /// How long sweeps took, in microseconds.
    pub sweep_us: Quantiles,
    /// How long after the planned instant sweeps began, in microseconds.
    pub lateness_us: Quantiles,
    /// The descriptors kept open at the end.
    pub descriptors: usize,
}

/// A distribution in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of the values are not larger.
    pub p50: u64,
    /// 99 % of the values are not larger.
    pub p99: u64,
    /// No value is larger.
    pub max: u64,
}

/// The name of the file in the directory of a recording.
pub(super) const FILE: &str = "recording.json";

/// A `recording.json` is a few kilobytes, and more with many labels; what is larger is something else.
const MAX_BYTES: u64 = 16 << 20;

/// What is read of `recording.json` before all else.
#[derive(Deserialize)]
struct Versions {
    format: u32,
    memsample: String,
}

impl Manifest {
    /// Reads it from a file in a directory, such as `recording.json`; `place` is the path of the directory, for messages.
    ///
    /// # Errors
    ///
    /// The file cannot be read; or, of kind `InvalidData`, it is not that of a recording, or of
    /// another format.
    pub(crate) fn read(directory: &HeldDirectory, name: &str, place: &Path) -> io::Result<Self> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let path = place.join(name);
        let bytes = directory.read(name, MAX_BYTES)?;
        // Messages repeat words of the file, which may be made for the terminal that shows them.
        let shown = |words: String| words.chars().map(printable).collect::<String>();
        let damaged = |error: serde_json::Error| {
            invalid(format!("`{}` is damaged: {}", path.display(), shown(error.to_string())))
        };
        // First, since in another format all else may mean something else.
        let Versions { format, memsample } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format != FORMAT_VERSION {
            let memsample = shown(memsample);
            return Err(invalid(format!(
                "`{}` has format {format}, written by memsample {memsample}, and this program reads format \
                 {FORMAT_VERSION}: read it with the memsample that wrote it, or record again",
                path.display(),
            )));
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// Writes it into a file in a directory, such as `recording.json`, whole or not at all.
    pub(crate) fn write(&self, directory: &HeldDirectory, name: &str) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        directory.replace(name, |mut file| file.write_all(&text))
    }
}

/// Writes `recording.json` into the directory of a recording.
pub(crate) fn write_manifest(directory: &HeldDirectory, manifest: &Manifest) -> io::Result<()> {
    manifest.write(directory, FILE)
}

/// Returns a character, or how it is written in Rust if a terminal would not show it.
fn printable(character: char) -> String {
    match character {
        '\'' | '"' | '\\' => character.to_string(),
        _ => character.escape_debug().collect(),
    }
}

/// Returns the names of the files, for `recording.json`.
pub(crate) fn file_names(files: Files) -> Vec<String> {
    files.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

/// Returns whole milliseconds, in which all intervals are.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
