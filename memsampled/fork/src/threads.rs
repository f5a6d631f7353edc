//! How many threads this process has.

use std::fs;
use std::io;

/// Refuses a process that has more than one thread. No other thread can begin while there is only the one that asks.
///
/// # Errors
///
/// It has more, or `/proc/self/task` does not say.
pub(crate) fn refuse_threads() -> io::Result<()> {
    let mut count = 0;
    for thread in fs::read_dir("/proc/self/task")?.take(2) {
        thread?;
        count += 1;
    }
    match count {
        1 => Ok(()),
        0 => Err(io::Error::other("/proc/self/task shows no thread")),
        _ => Err(io::Error::other("a process with more than one thread is not forked")),
    }
}
