//! The stack of the first thread, which who starts a program limits.

use std::panic::resume_unwind;
use std::thread::Builder;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Enough for the arguments and for each command, with a wide margin: reading the arguments alone takes an eighth.
const STACK_BYTES: usize = 1 << 20;

/// Runs a program in its first thread, or in another one where the first has too small a stack: beyond that the program
/// would end by SIGABRT or SIGSEGV, and a command that it was to run would not run.
///
/// The limit stays as it is for what the program starts.
pub fn with_enough_stack<T: Send + 'static>(program: fn() -> T) -> T {
    let is_too_small = getrlimit(Resource::RLIMIT_STACK)
        .is_ok_and(|(soft, _)| soft != RLIM_INFINITY && soft < STACK_BYTES as u64);
    // Without a name it has that of the program, by which the processes around a test are known.
    let thread = is_too_small.then(|| Builder::new().stack_size(STACK_BYTES).spawn(program));
    match thread {
        Some(Ok(thread)) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Some(Err(_)) | None => program(),
    }
}
