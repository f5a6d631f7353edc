//! The largest process images, from the tables of processes and exits alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use super::bound::{Bound, counter_error_bytes, is_bounded_at_exit, lower};
use super::sampled_image::exited_images;
use super::test_membership::images_of_tests;
use crate::identity::ProcessId;
use crate::recording::{ImageRow, Recording};

/// A process image and its memory, by its rows in the tables of processes and exits.
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
    /// error of its count ([`counter_error_bytes`]). Not of one that SIGKILL ended: its memory may have been taken away
    /// before.
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
/// A table cannot be read.
pub fn largest_processes(recording: &Recording, top: usize) -> io::Result<Vec<LargestProcess>> {
    with_ends(recording, largest_rows(recording, top, |_| true)?)
}

/// Returns the `top` largest process images of a test, largest lower bound first. The largest image of the process
/// that began first is before all others: that is the one which started them.
///
/// # Errors
///
/// A table cannot be read.
pub fn largest_processes_of_test(
    recording: &Recording,
    test: &str,
    top: usize,
) -> io::Result<Vec<LargestProcess>> {
    let mut rows = images_of_tests(recording)?.counted;
    rows.retain(|row| row.test.as_deref() == Some(test));
    largest_of(recording, rows, top)
}

/// Returns the `top` largest of some rows. The largest image of the process that began first is before all others.
pub(super) fn largest_of(
    recording: &Recording,
    mut rows: Vec<ImageRow>,
    top: usize,
) -> io::Result<Vec<LargestProcess>> {
    rows.sort_by_key(|row| (Reverse(lower(row).bytes), row.process));
    let first = rows.iter().map(|row| (row.start_ns, row.pid)).min();
    if let Some(index) = rows.iter().position(|row| Some((row.start_ns, row.pid)) == first) {
        let first = rows.remove(index);
        rows.insert(0, first);
    }
    rows.truncate(top);
    with_ends(recording, rows)
}

/// Returns what is known of some rows, in their order.
fn with_ends(recording: &Recording, rows: Vec<ImageRow>) -> io::Result<Vec<LargestProcess>> {
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    let exited = exited_images(recording, rows.clone())?;
    let process = |row: ImageRow| {
        let may_be_reaped = exited.get(&row.process).is_some_and(|image| image.may_be_reaped);
        let is_exact = !may_be_reaped && is_bounded_at_exit(&row, error_bytes);
        LargestProcess::new(row, is_exact)
    };
    Ok(rows.into_iter().map(process).collect())
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
    fn new(row: ImageRow, is_exact: bool) -> Self {
        let lower = lower(&row);
        Self {
            process: ProcessId(row.process),
            pid: row.pid,
            lower,
            is_exact,
            comm: row.comm,
            role: row.role,
            rss_peak_bytes: row.rss_peak_bytes,
            rss_mean_bytes: row.rss_mean_bytes,
            pss_peak_bytes: row.pss_peak_bytes,
            samples: row.samples,
        }
    }
}
