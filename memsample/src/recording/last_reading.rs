//! A value that was read before the instant that is looked at.

use crate::metric::Metric;

/// A value of a process, and how long before the instant it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReading {
    /// The value, in bytes, nanoseconds or events: see [`Metric`].
    pub value: u64,
    /// The time from the reading to the instant, in milliseconds; 0 if it was read at the instant.
    pub age_ms: u64,
    /// The resident set at the tick of the reading, in bytes.
    pub rss_bytes: Option<u64>,
}

/// The last reading of each metric of one process; `None` where it was never read.
pub(super) type LastReadings = [Option<LastReading>; Metric::COUNT];
