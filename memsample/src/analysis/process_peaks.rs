//! The peak of each process image, with bounds. The definitions are in `docs/peaks.md`.

use std::cmp::Reverse;
use std::io;

use jiff::Timestamp;

use super::bound::{Bound, counter_error_bytes, known_lower};
use super::composition::Composition;
use super::growth::step;
use super::largest::largest_rows;
use super::sampled_image::{SampledImage, sampled_images};
use crate::identity::ProcessId;
use crate::recording::{ImageRow, Recording};

/// The largest resident set of a process image, from its start to its end, or to its last sample if it
/// outlived the recording.
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
    /// The number of its samples; 0 for a process that lived between two ticks.
    pub samples: u64,
    /// The lower bound; `None` where nothing is known.
    pub lower: Option<Bound>,
    /// The upper bound; `None` where it is not known.
    pub upper: Option<Bound>,
    /// The latest possible time of the peak; `None` like `lower`.
    pub by: Option<Timestamp>,
    /// The parts of the largest sample; `None` for a process without samples.
    pub composition: Option<Composition>,
    /// Whether it rose until its end, or until that of the recording; `None` where that is not known, as of a process
    /// with less than ten seconds of samples.
    pub rising_at_end: Option<bool>,
}

/// Returns the `top` largest peaks of the process images that `keep` accepts by command name and arguments,
/// largest lower bound first.
///
/// Needs memory only for what it returns. Reads `processes`, `exits` and `samples` once each.
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
    let bytes = |peak: &ProcessPeak| peak.lower.map(|lower| lower.bytes);
    peaks.sort_by_key(|peak| (Reverse(bytes(peak)), peak.process));
    Ok(peaks)
}

fn peak(image: SampledImage, error_bytes: Option<u64>) -> ProcessPeak {
    let (lower, upper) = (known_lower(&image.row), image.upper(error_bytes));
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
        // Only the peak is known of a process that was never sampled.
        None => None,
        Some(_) if grew_unseen && image.growth.tells() => Some(true),
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
        by: lower.map(|_| Timestamp::from_millisecond(by_ms).unwrap_or_default()),
        composition: image.composition,
        rising_at_end,
    }
}
