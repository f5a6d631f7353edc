//! Bounds of a peak, and the error of a high-water mark. The definitions are in `docs/peaks.md`.

use crate::recording::{ImageRow, Machine};

/// The source of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The largest sample, or sum of samples at one tick.
    Sampled,
    /// The resident set of a process, read when a mark was set.
    Mark,
    /// `VmHWM` of `status`.
    HighWaterMark,
    /// The high-water mark in the exit record of the kernel.
    ExitRecord,
    /// `ru_maxrss` of whoever reaped the process: the largest of all its images, and of what it was forked from.
    Reaper,
    /// What the kernel noted at an exec of the process: the largest of all its images until then, and of what it was forked
    /// from.
    Exec,
    /// The sum of the upper bounds of processes that may have lived at the same time.
    SumOfMembers,
}

impl Source {
    /// Returns the word for it in JSON and CSV.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Mark => "mark",
            Self::HighWaterMark => "high_water_mark",
            Self::ExitRecord => "exit_record",
            Self::Reaper => "reaper",
            Self::Exec => "exec",
            Self::SumOfMembers => "sum_of_members",
        }
    }
}

/// A bound of a peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The resident set, in bytes.
    pub bytes: u64,
    /// Its source.
    pub source: Source,
}

/// Returns how many bytes a high-water mark may lack, since each CPU counts pages for itself first.
///
/// `None` where that is not known: before Linux 6.2 it depends on the threads.
#[must_use]
pub fn counter_error_bytes(machine: &Machine) -> Option<u64> {
    counter_error_of_kernel(&machine.kernel, machine.cpus_online? as u64, machine.page_bytes?)
}

/// The same of a kernel of this release, with so many CPUs online and pages of so many bytes.
#[must_use]
pub fn counter_error_of_kernel(release: &str, cpus_online: u64, page_bytes: u64) -> Option<u64> {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().ok());
    let release: (u32, u32) = (numbers.next()??, numbers.next()??);
    if release < COUNTS_BY_CPU {
        return None;
    }
    let batch = MIN_BATCH_PAGES.max(BATCH_PAGES_PER_CPU.saturating_mul(cpus_online));
    COUNTERS.checked_mul(cpus_online)?.checked_mul(batch)?.checked_mul(page_bytes)
}

/// Returns the largest resident set that the image is known to have had, 0 where nothing is known.
pub(super) fn lower(row: &ImageRow) -> Bound {
    known_lower(row).unwrap_or(Bound { bytes: 0, source: Source::Sampled })
}

/// Returns the lower bound of the peak of an image; `None` where nothing is known of it.
pub(super) fn known_lower(row: &ImageRow) -> Option<Bound> {
    let candidates = [
        (row.rss_peak_bytes, Source::Sampled),
        (row.hwm_bytes, Source::HighWaterMark),
        (row.exit_hwm_bytes, Source::ExitRecord),
    ];
    let known =
        candidates.into_iter().filter_map(|(bytes, source)| Some(Bound { bytes: bytes?, source }));
    // Of equal ones the last, which is the most precise source.
    known.max_by_key(|bound| bound.bytes)
}

/// Returns whether the exit record bounds the peak.
pub(super) fn is_bounded_at_exit(row: &ImageRow, error_bytes: Option<u64>) -> bool {
    at_exit(row, error_bytes).is_some()
}

/// Returns the upper bound by the exit record; `None` where there is none, or the record belongs to another program.
pub(super) fn at_exit(row: &ImageRow, error_bytes: Option<u64>) -> Option<Bound> {
    let hwm_bytes = row.exit_hwm_bytes?;
    let Some(past_bytes) = row.exit_past_hwm_bytes else {
        return within(row, hwm_bytes, error_bytes, Source::ExitRecord);
    };
    // The peak was when memory was given back for the last time, as the mark says with its error, or at the end.
    let bytes = past_bytes.checked_add(error_bytes?)?.max(hwm_bytes);
    (bytes >= lower(row).bytes).then_some(Bound { bytes, source: Source::ExitRecord })
}

/// Returns the upper bound by a high-water mark; `None` where the mark is below what was seen: then it
/// belongs to another program, which the process executed between its last sample and its exit.
pub(super) fn within(
    row: &ImageRow,
    mark: u64,
    error_bytes: Option<u64>,
    source: Source,
) -> Option<Bound> {
    let bytes = mark.checked_add(error_bytes?)?;
    (bytes >= lower(row).bytes).then_some(Bound { bytes, source })
}

/// The first release that counts a resident set on each CPU.
const COUNTS_BY_CPU: (u32, u32) = (6, 2);
/// The batch in which a CPU adds pages to the total: at least 32, or two for each online CPU
/// (`percpu_counter_batch`).
const MIN_BATCH_PAGES: u64 = 32;
const BATCH_PAGES_PER_CPU: u64 = 2;
/// The kernel counts file, anonymous and shared memory separately.
const COUNTERS: u64 = 3;
