//! The signals of the processes around a test: some are not for them, and none is blocked.

use std::sync::Arc;

use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Makes signals that would end this process do nothing. A SIGTERM to all processes of a CI job is meant for the runner
/// or the test: the runner decides, and this process ends when its channel closes.
pub(super) fn ignore_signals() {
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // A handler, which exec resets, so that the test does not inherit it.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// Lets signals come that were blocked when the runner was started. A test would not end by the SIGTERM at the end of its
/// time, and the end of a child would be noticed a second late.
pub(super) fn unblock_signals() {
    // Fails for no set of signals.
    let _ = SigSet::all().thread_unblock();
}
