//! The summary of a recording.

use serde::{Deserialize, Serialize};

use super::{End, Quantiles, RecordingState};

/// What a recording comes to. Its keys are part of the interface: see docs/commands.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Path of the recording.
    pub recording: String,
    /// Whether it is whole.
    pub state: RecordingState,
    /// Why it ended.
    pub end: Option<End>,
    /// From one tick to the next, in milliseconds.
    pub interval_ms: u64,
    /// Sweeps that were made.
    pub ticks: u64,
    /// Samples that were written.
    pub samples: u64,
    /// Process images that were seen.
    pub processes: u64,
    /// Planned instants at which no sweep began in time.
    pub late: u64,
    /// Planned instants at which none began at all.
    pub missed: u64,
    /// Samples that were read and not written.
    pub dropped: u64,
    /// Processes that exited between two ticks.
    pub gone: u64,
    /// Exits that the kernel reported.
    pub exits: u64,
    /// How often the kernel had more exits to report than its buffer holds.
    pub exits_lost: u64,
    /// Processes of which only the exit is known.
    pub unsampled: u64,
    /// Processes that began and exited between two ticks and of which nothing else is known.
    pub unseen: u64,
    /// Events of processes that were lost, and which a listing made up for.
    pub events_lost: u64,
    /// Readings that the kernel refused.
    pub denied: u64,
    /// Readings that failed for another reason.
    pub unreadable: u64,
    /// Readings without a kept descriptor.
    pub reopened: u64,
    /// Readings of PSS left out because a single one would hold the process up for too long.
    pub pss_skipped: u64,
    /// Samples of processes of which another reading had not come back, because a lock of theirs was held.
    #[serde(default)]
    pub stuck: u64,
    /// How long sweeps took, in microseconds.
    pub sweep_us: Option<Quantiles>,
    /// How late they began, in microseconds.
    pub lateness_us: Option<Quantiles>,
    /// What the recorder itself used.
    pub cpu_seconds: Option<f64>,
    /// The same, of memory.
    pub peak_rss_bytes: Option<u64>,
    /// The recording on disk.
    pub bytes: u64,
    /// Exit code of the recorded command.
    pub command_exit_code: Option<i32>,
    /// What this machine or these rights did not allow.
    pub notes: Vec<String>,
}
