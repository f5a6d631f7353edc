//! Recordings and their files, as the daemon lists and describes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/recordings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingList {
    /// Those that the caller may see, newest first.
    pub recordings: Vec<RecordingListEntry>,
    /// Whether there are more than could be listed.
    pub truncated: bool,
}

/// A recording in the recordings directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingListEntry {
    /// Its name in the recordings directory.
    pub id: String,
    /// Whether it is whole.
    pub state: RecordingState,
    /// When it began.
    pub started: Timestamp,
    /// The size of its files, in bytes.
    pub bytes: u64,
}

/// `GET /v1/recordings/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingInfo {
    /// Its name in the recordings directory.
    pub id: String,
    /// Its directory.
    pub recording: String,
    /// Whether it is whole.
    pub state: RecordingState,
    /// Why it ended; null while it is being recorded.
    pub end: Option<End>,
    /// When it began.
    pub started: Timestamp,
    /// The last tick, as of the last time `recording.json` was written.
    pub last_tick: Option<Timestamp>,
    /// From one tick to the next, in milliseconds.
    pub interval_ms: u64,
    /// The user who started it, where that was noted.
    pub uid: Option<u32>,
    /// What the client wanted to find.
    pub labels: BTreeMap<String, String>,
    /// What it holds and lacks.
    pub totals: Totals,
    /// Its files, each to be had as `/v1/recordings/{id}/{name}`.
    pub files: Vec<RecordingFile>,
}

/// A file of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingFile {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
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
    /// No client had marked it or asked for it for as long as was allowed.
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

/// What a recording holds and what it lacks, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Sweeps that were made; while it is recorded, those of them that were written.
    pub ticks: u64,
    /// Rows of `samples`.
    pub samples: u64,
    /// Process images that were seen: the rows of `processes`.
    pub processes: u64,
    /// Exits that the kernel reported: the rows of `exits`.
    pub exits: u64,
    /// Processes that began and exited between two ticks, of which only the exit is known. Contained in
    /// `processes`.
    pub unsampled: u64,
    /// How often the kernel had more exits to report than its buffer holds. Each time at least one process is
    /// missing in `exits`.
    pub exits_lost: u64,
    /// Events of processes that were lost, and which a listing made up for.
    pub events_lost: u64,
    /// Processes that began and exited between two ticks and of which nothing else is known.
    pub unseen: u64,
    /// Processes that may belong to a test of the recording, and of which that is not known.
    pub unattributed: u64,
    /// Planned instants that were met late, or not at all.
    pub late: u64,
    /// Planned instants at which no sweep began. Contained in `late`, but for those while the machine
    /// was suspended.
    pub missed: u64,
    /// Samples that were read and not written, because the writer was behind.
    pub dropped: u64,
    /// Samples of processes outside of the target of the recording, which were read and not written.
    pub outside: u64,
    /// Processes that exited.
    pub gone: u64,
    /// Readings that the kernel refused.
    pub denied: u64,
    /// Readings that failed for another reason.
    pub unreadable: u64,
    /// Readings that had to open the files of the process again, for lack of descriptors.
    pub reopened: u64,
    /// Readings of PSS that were left out because the process is too large.
    pub pss_skipped: u64,
    /// Samples of processes of which another reading had not come back, because a lock of theirs was held.
    pub stuck: u64,
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
