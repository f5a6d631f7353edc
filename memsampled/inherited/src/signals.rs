//! Signals that were ignored when this program began.

use std::fs;
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGCHLD, SIGXCPU, SIGXFSZ};

/// The signals that were ignored, a bit each. Read before the first handler is set: a handler takes the bit away.
static IGNORED: LazyLock<u64> = LazyLock::new(|| {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
});

/// Returns whether a signal was ignored when this program began, as by `nohup`, or for what a shell runs in the
/// background. It is to stay so: for this program, and for those that it starts, where a handler would become the
/// default.
///
/// False where `/proc` is not there to tell. The runtime of Rust ignores SIGPIPE in any case.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    (1..=64).contains(&signal) && *IGNORED & (1 << (signal - 1)) != 0
}

/// Makes a write beyond the limit of the file size fail with an error, instead of ending this program, and has it go on
/// beyond the soft limit of CPU time, which is meant for the programs that it starts. Called before anything else;
/// those get the default again.
pub fn outlive_soft_limits() {
    for signal in [SIGXFSZ, SIGXCPU] {
        if !is_ignored(signal) {
            // A handler, which exec resets. Fails for no signal of this name.
            let _ = signal_hook::flag::register(signal, Arc::default());
        }
    }
}

/// Lets this program learn how its children end, where who started it ignored SIGCHLD: the kernel forgets each end then,
/// and a command that failed could not be told from one that did not. Called before the first child.
///
/// For programs that are started SIGCHLD is not ignored any more, as POSIX allows of every exec.
pub fn learn_ends_of_children() {
    if is_ignored(SIGCHLD) {
        let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
    }
}
