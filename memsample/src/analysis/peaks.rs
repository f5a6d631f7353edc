//! The peak of each process image, with bounds. The definitions are in `docs/peaks.md`.

use std::cmp::Reverse;
use std::io;

use jiff::Timestamp;

use super::growth::step;
use super::largest::largest_rows;
use super::sampled_images::{SampledImage, sampled_images};
use crate::identity::ProcessId;
use crate::recording::{ImageRow, Machine, Recording};

/// Since this release the kernel counts a resident set on each CPU.
const COUNTS_BY_CPU: (u32, u32) = (6, 2);
/// Pages that a CPU keeps to itself, at least, and for each CPU that is online: `percpu_counter_batch`.
const MIN_BATCH_PAGES: u64 = 32;
const BATCH_PAGES_PER_CPU: u64 = 2;
/// Memory of files, anonymous memory and shared memory are counted apart.
const COUNTERS: u64 = 3;

/// Where a bound is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The largest sample, or sum of samples at one tick.
    Sampled,
    /// `VmHWM` of `status`.
    HighWaterMark,
    /// The high-water mark in the record that the kernel sent at the end.
    ExitRecord,
    /// The sum of the upper bounds of processes that may have lived at the same time.
    SumOfMembers,
}

impl Source {
    /// Returns the word for it in JSON and CSV.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::HighWaterMark => "high_water_mark",
            Self::ExitRecord => "exit_record",
            Self::SumOfMembers => "sum_of_members",
        }
    }
}

/// A bound of a peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes.
    pub bytes: u64,
    /// Where it is from.
    pub source: Source,
}

/// What the memory consisted of at the tick with the largest sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// The planned instant of the tick.
    pub ts: Timestamp,
    /// Resident.
    pub rss_bytes: u64,
    /// Resident anonymous memory.
    pub anon_bytes: u64,
    /// Resident pages of files; `None` where it was not read, as in what follows.
    pub file_bytes: Option<u64>,
    /// Resident shared memory.
    pub shmem_bytes: Option<u64>,
    /// In swap, and so not resident.
    pub swap_bytes: Option<u64>,
}

/// The largest resident set that a process image had: from its start until its end, or, where it
/// outlived the recording, until its last sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessPeak {
    /// The key of the row in `processes`.
    pub process: ProcessId,
    /// The process id.
    pub pid: i32,
    /// The parent that forked it, as far as known.
    pub ppid: i32,
    /// The last known command name.
    pub comm: String,
    /// What the process does.
    pub role: String,
    /// The arguments with a space between them, where they were recorded.
    pub cmdline: Option<String>,
    /// How many samples it has; 0 of one that lived between two ticks.
    pub samples: u64,
    /// It was not smaller.
    pub lower: Bound,
    /// It was not larger; `None` where that is not known.
    pub upper: Option<Bound>,
    /// When the peak was, at the latest.
    pub by: Timestamp,
    /// What the largest sample consisted of; `None` of a process without samples.
    pub composition: Option<Composition>,
    /// Whether it rose up to its end, or to that of the recording; `None` where that is not known.
    pub rising_at_end: Option<bool>,
}

/// Returns how much a high-water mark may lack, in bytes: what the CPUs of the machine keep to
/// themselves. `None` where that is not known: before Linux 6.2 it depends on the threads.
#[must_use]
pub fn counter_error_bytes(machine: &Machine) -> Option<u64> {
    let mut numbers = machine.kernel.split(['.', '-']).map(|number| number.parse().ok());
    let release: (u32, u32) = (numbers.next()??, numbers.next()??);
    if release < COUNTS_BY_CPU {
        return None;
    }
    let cpus = machine.cpus_online? as u64;
    let batch = MIN_BATCH_PAGES.max(BATCH_PAGES_PER_CPU.saturating_mul(cpus));
    COUNTERS.checked_mul(cpus)?.checked_mul(batch)?.checked_mul(machine.page_bytes)
}

/// Returns the `top` largest peaks of the process images that `keep` (by command name and arguments),
/// largest lower bound first.
///
/// Memory is taken for what is returned only; `processes`, `exits` and `samples` are read once each.
///
/// # Errors
///
/// A table cannot be read.
pub fn process_peaks(
    recording: &Recording,
    top: usize,
    mut keep: impl FnMut(&str, Option<&str>) -> bool,
) -> io::Result<Vec<ProcessPeak>> {
    let rows = largest_rows(recording, top, |row| keep(&row.comm, row.cmdline.as_deref()))?;
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    let images = sampled_images(recording, rows)?;
    let mut peaks: Vec<_> = images.into_iter().map(|image| peak(image, error_bytes)).collect();
    peaks.sort_by_key(|peak| (Reverse(peak.lower.bytes), peak.process));
    Ok(peaks)
}

/// Returns the largest number that the image is known to have had.
pub(super) fn lower(row: &ImageRow) -> Bound {
    let candidates = [
        (row.rss_peak_bytes, Source::Sampled),
        (row.hwm_bytes, Source::HighWaterMark),
        (row.exit_hwm_bytes, Source::ExitRecord),
    ];
    let known =
        candidates.into_iter().filter_map(|(bytes, source)| Some(Bound { bytes: bytes?, source }));
    // Of equal ones the last: it knows more.
    known.max_by_key(|bound| bound.bytes).unwrap_or(Bound { bytes: 0, source: Source::Sampled })
}

/// Returns what the image cannot have been larger than.
pub(super) fn upper(image: &SampledImage, error_bytes: Option<u64>) -> Option<Bound> {
    let row = &image.row;
    match (row.exit_hwm_bytes, image.hwm) {
        (Some(bytes), _) => within(row, bytes, error_bytes, Source::ExitRecord),
        // It says nothing of the time after it was read, so that must have been at the last sample.
        (None, Some(hwm)) if !row.ended && Some(hwm.read_ms) == image.last_ms => {
            within(row, hwm.bytes, error_bytes, Source::HighWaterMark)
        }
        _ => None,
    }
}

/// Says whether the exit record bounds the peak.
pub(super) fn is_bounded_at_exit(row: &ImageRow, error_bytes: Option<u64>) -> bool {
    let bounded = |bytes| within(row, bytes, error_bytes, Source::ExitRecord);
    row.exit_hwm_bytes.and_then(bounded).is_some()
}

/// Returns the bound that a high-water mark is, unless it is below what was seen: then it is that of
/// another program, which the process became between its last sample and its end.
fn within(row: &ImageRow, mark: u64, error_bytes: Option<u64>, source: Source) -> Option<Bound> {
    let bytes = mark.checked_add(error_bytes?)?;
    (bytes >= lower(row).bytes).then_some(Bound { bytes, source })
}

fn peak(image: SampledImage, error_bytes: Option<u64>) -> ProcessPeak {
    let (lower, upper) = (lower(&image.row), upper(&image, error_bytes));
    let error_bytes = error_bytes.unwrap_or(0);
    let sampled = image.composition.map_or(0, |composition| composition.rss_bytes);
    let seen = image.hwm.map_or(0, |hwm| hwm.bytes).max(sampled);
    let grew_unseen = image
        .row
        .exit_hwm_bytes
        .is_some_and(|bytes| bytes > seen.saturating_add(step(seen)).saturating_add(error_bytes));
    let by_ms = match (image.composition, image.hwm) {
        _ if grew_unseen => image.exit_ms.unwrap_or(image.row.last_ms),
        (Some(composition), None) => composition.ts.as_millisecond(),
        (Some(composition), Some(hwm)) if hwm.bytes <= sampled.saturating_add(error_bytes) => {
            composition.ts.as_millisecond()
        }
        (_, Some(hwm)) => hwm.reached_ms,
        (None, None) => image.exit_ms.unwrap_or(image.row.last_ms),
    };
    let rising_at_end = match image.composition {
        // Of a process that was never looked at, nothing is known but its peak.
        None => None,
        Some(_) if grew_unseen => Some(true),
        Some(_) => image.growth.rising(),
    };
    let ImageRow { process, pid, ppid, comm, role, cmdline, samples, .. } = image.row;
    ProcessPeak {
        process: ProcessId(process),
        pid,
        ppid,
        comm,
        role,
        cmdline,
        samples,
        lower,
        upper,
        by: Timestamp::from_millisecond(by_ms).unwrap_or_default(),
        composition: image.composition,
        rising_at_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::growth::Growth;
    use crate::recording::ImageRow;

    /// Returns the upper bound of an image that ended, with an error of 100 bytes.
    fn upper_of(sampled: u64, recorded: Option<u64>) -> Option<u64> {
        let row = ImageRow {
            samples: 1,
            rss_peak_bytes: Some(sampled),
            exit_hwm_bytes: recorded,
            ..ImageRow::unseen(0, 1, 0)
        };
        let image = SampledImage {
            row,
            composition: None,
            hwm: None,
            growth: Growth::default(),
            last_ms: Some(0),
            exit_ms: Some(0),
            exit_ns: Some(0),
        };
        let bound = upper(&image, Some(100));
        assert_eq!(bound.is_some(), is_bounded_at_exit(&image.row, Some(100)));
        bound.map(|bound| bound.bytes)
    }

    #[test]
    fn a_record_below_what_was_seen_is_of_another_program() {
        assert_eq!(upper_of(1000, Some(2000)), Some(2100));
        assert_eq!(upper_of(1000, Some(950)), Some(1050));
        assert_eq!(upper_of(1000, Some(899)), None);
        assert_eq!(upper_of(1000, None), None);
    }
}
