//! What the PSS column explains of the machine's memory.

use serde::{Deserialize, Serialize};

use crate::parse::Meminfo;

/// The last known PSS of all living processes together, and how much is behind it.
///
/// PSS divides each mapped page by the processes that map it, so over all processes it sums up to what
/// is mapped: `AnonPages` + `Mapped` of `meminfo`. [`explains`](Self::explains) compares the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPss {
    /// The sum.
    pub known_bytes: u64,
    /// The processes in it.
    pub known_processes: u32,
    /// Processes of which no PSS was read since their image began.
    pub unknown_processes: u32,
    /// Their resident set: their PSS is no larger.
    pub unknown_rss_bytes: u64,
    /// The age of the oldest value, in milliseconds; `None` where there is none.
    pub oldest_ms: Option<u64>,
    /// The mean age in milliseconds, each value weighted with itself.
    pub mean_age_ms: Option<u64>,
}

impl KnownPss {
    /// Returns the share of the mapped memory that the sum is. It may be above 1, since the two are
    /// not of one instant; `None` where `meminfo` does not say what is mapped.
    ///
    /// What it lacks, and why, is in `docs/coverage.md`.
    #[must_use]
    pub fn explains(&self, meminfo: &Meminfo) -> Option<f64> {
        let mapped = meminfo.mapped_bytes().filter(|&bytes| bytes > 0)?;
        Some(self.known_bytes as f64 / mapped as f64)
    }
}
