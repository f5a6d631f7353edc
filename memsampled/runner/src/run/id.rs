//! Numbers and names of what is started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what was ever started by this process, so that no name of a sandbox is used twice.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Returns a number and a name that nothing else has that was started by this process.
pub(super) fn next_id() -> (u64, String) {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    (id, format!("memsample-{}-{id}", std::process::id()))
}
