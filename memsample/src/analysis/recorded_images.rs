//! The process images of a recording and their roles, for who adds up samples.

use std::io;

use crate::identity::ProcessId;
use crate::recording::{ImageRow, Recording};

/// A process image of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedImage {
    /// Its key in `processes`.
    pub process: ProcessId,
    /// What it does.
    pub role: String,
    /// Its first sample, or what else is first known of it, in milliseconds since 1970.
    pub first_ms: i64,
    /// Its last one.
    pub last_ms: i64,
    /// Its largest sampled resident set, in bytes; `None` of an image without samples.
    pub rss_peak_bytes: Option<u64>,
}

/// Passes on the process images of a recording, in the order of its table `processes`.
///
/// # Errors
///
/// The table cannot be read.
pub fn for_each_image(
    recording: &Recording,
    mut visit: impl FnMut(RecordedImage),
) -> io::Result<()> {
    recording.for_each_image(|row| {
        let ImageRow { process, role, first_ms, last_ms, rss_peak_bytes, .. } = row;
        let process = ProcessId(process);
        visit(RecordedImage { process, role, first_ms, last_ms, rss_peak_bytes });
    })
}
