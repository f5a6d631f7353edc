//! The largest process images, from the table of processes alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use super::bound::{Bound, counter_error_bytes, is_bounded_at_exit, lower};
use super::test_membership::images_of_tests;
use crate::identity::ProcessId;
use crate::recording::{ImageRow, Recording};

/// A process image and its memory, by its row in the table of processes.
///
/// Upper bounds and the times of peaks also need the samples: see
/// [`process_peaks`](super::process_peaks()).
#[derive(Clone, Debug, PartialEq)]
pub struct LargestProcess {
    /// The key of the row in `processes`.
    pub process: ProcessId,
    /// The process id.
    pub pid: i32,
    /// The last known command name.
    pub comm: String,
    /// What the process does.
    pub role: String,
    /// The lower bound of its largest resident set.
    pub lower: Bound,
    /// Whether the kernel reported the largest at its exit, so that it was not larger either, except for the
    /// error of its count ([`counter_error_bytes`]).
    pub is_exact: bool,
    /// The largest sampled resident set, in bytes; `None` for a process that lived between two ticks.
    pub rss_peak_bytes: Option<u64>,
    /// The mean over its samples, in bytes.
    pub rss_mean_bytes: Option<u64>,
    /// The largest sampled PSS, in bytes; `None` where none was sampled.
    pub pss_peak_bytes: Option<u64>,
    /// The number of its samples.
    pub samples: u64,
}

/// Returns the `top` process images with the largest resident sets, largest lower bound first.
///
/// # Errors
///
/// The table of processes cannot be read.
pub fn largest_processes(recording: &Recording, top: usize) -> io::Result<Vec<LargestProcess>> {
    let rows = largest_rows(recording, top, |_| true)?;
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    Ok(rows.into_iter().map(|row| LargestProcess::new(row, error_bytes)).collect())
}

/// Returns the `top` largest process images of a test, largest lower bound first. The largest image of the process
/// that began first is before all others: that is the one which started them.
///
/// # Errors
///
/// The table of processes cannot be read.
pub fn largest_processes_of_test(
    recording: &Recording,
    test: &str,
    top: usize,
) -> io::Result<Vec<LargestProcess>> {
    let mut rows = images_of_tests(recording)?.counted;
    rows.retain(|row| row.test.as_deref() == Some(test));
    Ok(largest_of(recording, rows, top))
}

/// Returns the `top` largest of some rows. The largest image of the process that began first is before all others.
pub(super) fn largest_of(
    recording: &Recording,
    mut rows: Vec<ImageRow>,
    top: usize,
) -> Vec<LargestProcess> {
    rows.sort_by_key(|row| (Reverse(lower(row).bytes), row.process));
    let first = rows.iter().map(|row| (row.start_ns, row.pid)).min();
    if let Some(index) = rows.iter().position(|row| Some((row.start_ns, row.pid)) == first) {
        let first = rows.remove(index);
        rows.insert(0, first);
    }
    rows.truncate(top);
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    rows.into_iter().map(|row| LargestProcess::new(row, error_bytes)).collect()
}

/// Returns the `top` rows with the largest lower bounds among those that `keep` accepts, largest first.
pub(super) fn largest_rows(
    recording: &Recording,
    top: usize,
    mut keep: impl FnMut(&ImageRow) -> bool,
) -> io::Result<Vec<ImageRow>> {
    let mut largest = BinaryHeap::new();
    recording.for_each_image(|row| {
        if keep(&row) {
            largest.push(Reverse((lower(&row).bytes, Reverse(row.process), Ranked(row))));
            if largest.len() > top {
                largest.pop();
            }
        }
    })?;
    let rows = largest.into_sorted_vec().into_iter();
    Ok(rows.map(|Reverse((_, _, Ranked(row)))| row).collect())
}

/// A row in the heap, which does not take part in its order.
struct Ranked(ImageRow);

impl PartialEq for Ranked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl LargestProcess {
    fn new(row: ImageRow, error_bytes: Option<u64>) -> Self {
        let lower = lower(&row);
        Self {
            process: ProcessId(row.process),
            pid: row.pid,
            lower,
            is_exact: is_bounded_at_exit(&row, error_bytes),
            comm: row.comm,
            role: row.role,
            rss_peak_bytes: row.rss_peak_bytes,
            rss_mean_bytes: row.rss_mean_bytes,
            pss_peak_bytes: row.pss_peak_bytes,
            samples: row.samples,
        }
    }
}
