//! Signals that are not for the processes around a test.

use std::sync::Arc;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Makes signals that would end this process do nothing. A SIGTERM to all processes of a CI job is meant for the runner
/// or the test: the runner decides, and this process ends when its channel closes.
pub(super) fn ignore_signals() {
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // A handler, which exec resets, so that the test does not inherit it.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}
