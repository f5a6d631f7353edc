//! Two passes over a recording at once.

use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// Computes both, `beside` on a thread of its own where the system gives one, and else after `here`.
pub fn both_at_once<A, B: Send>(here: impl FnOnce() -> A, beside: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, &beside);
        let here = here();
        let beside = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => beside(),
        };
        (here, beside)
    })
}
