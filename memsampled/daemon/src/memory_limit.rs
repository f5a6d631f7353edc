//! What the daemon takes in memory, beside what it may take.
//!
//! | what | at most |
//! |---|---|
//! | without a session, with 1024 connections of 32 KiB | 40 MiB |
//! | sweeps on their way, which all sessions share | 32 MiB |
//! | bodies of more than 16 KiB, 64 at once | 16 MiB |
//! | 32 sessions and a flight recorder: 8 MiB of samples, 4 MiB for writing them | 396 MiB |
//!
//! That is 484 MiB of the 512 MiB of the unit. It is calculated and was not measured: the 4 MiB for writing
//! are an estimate, the others are bounds. What has no place in this, such as 16 MiB of marks
//! for each session when the disk does not respond, is refused as soon as the daemon has [`Limits::memory`](memsample_config::Limits::memory).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// After this many bytes of marks the resident set is read again.
const STEP_BYTES: u64 = 4 << 20;

/// Whether there is memory for more.
#[derive(Default)]
pub(super) struct MemoryLimit {
    /// Bytes that were taken in since the last check.
    taken: AtomicU64,
    is_short: AtomicBool,
}

impl MemoryLimit {
    /// Returns whether `bytes` more may be kept. Reads the resident set only at times, so that it costs nothing.
    pub(super) fn has_room(&self, bytes: u64, limit: u64) -> bool {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken >= STEP_BYTES || self.is_short.load(Ordering::Relaxed) {
            return self.check(limit);
        }
        true
    }

    /// Returns whether there is room now.
    pub(super) fn check(&self, limit: u64) -> bool {
        self.taken.store(0, Ordering::Relaxed);
        let is_short = resident_bytes().is_some_and(|bytes| bytes > limit);
        self.is_short.store(is_short, Ordering::Relaxed);
        !is_short
    }
}

/// Returns the resident set of the daemon.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
