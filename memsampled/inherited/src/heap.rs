//! The heaps of the threads.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Has all threads allocate from one heap, where the C library would give each a heap of its own.
///
/// The threads of a session of the daemon end with it, but what lay between what others still hold on their heaps
/// stays resident: after thousands of sessions 32 MiB instead of 13. Called before any other thread begins.
#[allow(unsafe_code, reason = "there is no other way to ask the C library")]
pub fn share_one_heap() {
    // It says whether it did; if not, more memory is held, and all else is the same.
    #[cfg(target_env = "gnu")]
    // SAFETY: It takes two numbers, and there is no other thread yet.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Does so where the address space is limited: each heap reserves 64 MiB of it, and leaves none to the others.
pub fn share_one_heap_if_limited() {
    if getrlimit(Resource::RLIMIT_AS).is_ok_and(|(soft, _)| soft != RLIM_INFINITY) {
        share_one_heap();
    }
}
