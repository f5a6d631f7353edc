//! What recording costs: CPU time, memory, and how punctual the sweeps were.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use super::schedule::Unmet;
use crate::batch::Batch;
use crate::parse::parse_status;
use crate::recording::{Quantiles, RecorderUsage};
use crate::units::Kibibytes;

/// What the sampling thread knows of itself at the end of a session.
pub(super) struct SamplingUsage {
    pub(super) sweep_us: Quantiles,
    pub(super) lateness_us: Quantiles,
    pub(super) descriptors: usize,
    pub(super) cpu_seconds: f64,
    /// How often the kernel dropped exit records after the last tick; and exit records that found no room.
    pub(super) exits_lost: u32,
    /// Processes that began and ended since then and of which nothing else is known.
    pub(super) unseen: u32,
    /// Planned instants after the last tick that were met by none.
    pub(super) unmet: Unmet,
    /// Likewise of those that may be of a test.
    pub(super) unattributed: u32,
    /// Whether the duration is over.
    pub(super) ran_out: bool,
    /// Why not all processes were read by BPF, where that was asked for.
    pub(super) sweep_note: Option<String>,
    /// The counters of the machine and of control groups, read once more at the end: what ended the
    /// recording may have been a kill.
    pub(super) last_counters: Batch,
}

/// Returns what a clock says, in seconds.
pub(super) fn seconds_of(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns what this program used since a recording began, `elapsed_ns` ago.
pub(super) fn usage_of_this_program(
    cpu_seconds_before: f64,
    elapsed_ns: u64,
    sampling: Option<Box<SamplingUsage>>,
) -> RecorderUsage {
    // The scheduler does not count nanoseconds, so neither does `recording.json`.
    let micros = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let status = fs::read("/proc/self/status").unwrap_or_default();
    let high_water = parse_status(&status).ok().and_then(|status| status.vm_hwm);
    let quantiles =
        |of: fn(&SamplingUsage) -> Quantiles| sampling.as_deref().map(of).unwrap_or_default();
    RecorderUsage {
        elapsed_seconds: micros(elapsed_ns as f64 / 1e9),
        cpu_seconds: micros(seconds_of(ClockId::ProcessCPUTime) - cpu_seconds_before),
        sampling_cpu_seconds: micros(sampling.as_ref().map_or(0.0, |usage| usage.cpu_seconds)),
        writing_cpu_seconds: micros(seconds_of(ClockId::ThreadCPUTime)),
        journal_bytes: 0,
        peak_rss_bytes: high_water.and_then(Kibibytes::bytes),
        sweep_us: quantiles(|sampling| sampling.sweep_us),
        lateness_us: quantiles(|sampling| sampling.lateness_us),
        descriptors: sampling.map_or(0, |sampling| sampling.descriptors),
    }
}
