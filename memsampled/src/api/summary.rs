use std::io;

use memsample::{End, Manifest, Quantiles, Recording, RunState};
use serde::{Deserialize, Serialize};

/// What a recording comes to. Its keys are part of the interface: see README.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Path of the recording.
    pub run: String,
    /// Whether it is whole.
    pub state: RunState,
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
    /// Processes that ended between two ticks.
    pub gone: u64,
    /// Ends of which the kernel told.
    pub exits: u64,
    /// How often it had more to tell than it could keep.
    pub exits_lost: u64,
    /// Processes of which only the end is known.
    pub unsampled: u64,
    /// Processes that began and ended between two ticks and of which nothing else is known.
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

impl Summary {
    /// Sums a recording up.
    ///
    /// # Errors
    ///
    /// Its directory cannot be read.
    pub fn of(recording: &Recording) -> io::Result<Self> {
        let Manifest { state, end, provenance, totals, recorder, command_exit_code, notes, .. } =
            recording.manifest();
        Ok(Self {
            run: recording.path().display().to_string(),
            state: *state,
            end: end.clone(),
            interval_ms: provenance.settings.interval_ms,
            ticks: totals.ticks,
            samples: totals.samples,
            processes: totals.processes,
            late: totals.late,
            missed: totals.missed,
            dropped: totals.dropped,
            gone: totals.gone,
            exits: totals.exits,
            exits_lost: totals.exits_lost,
            unsampled: totals.unsampled,
            unseen: totals.unseen,
            events_lost: totals.events_lost,
            denied: totals.denied,
            unreadable: totals.unreadable,
            reopened: totals.reopened,
            pss_skipped: totals.pss_skipped,
            sweep_us: recorder.map(|recorder| recorder.sweep_us),
            lateness_us: recorder.map(|recorder| recorder.lateness_us),
            cpu_seconds: recorder.map(|recorder| recorder.cpu_seconds),
            peak_rss_bytes: recorder.and_then(|recorder| recorder.peak_rss_bytes),
            bytes: recording.size_bytes()?,
            command_exit_code: *command_exit_code,
            notes: notes.clone(),
        })
    }
}
