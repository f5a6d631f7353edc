//! What is known of a process that ended without the error of a high-water mark.

use serde::{Deserialize, Serialize};

/// What BPF says of a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExactExit {
    /// The resident set, with the part of every CPU.
    pub(crate) rss_bytes: u64,
    /// The high-water mark as of when memory was given back for the last time.
    pub(crate) past_hwm_bytes: u64,
    /// The largest mark of all images of the process, and of what it was forked from.
    pub(crate) process_max_rss_bytes: u64,
}
