//! Forks, and runs a function in the child.

use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::process::Pid;

pub use crate::descriptors::Streams;
use crate::descriptors::replace_what_exec_closes;
use crate::system_call::{self, Side};
use crate::threads::refuse_threads;

/// The exit code of a child that panics: that of a program.
const PANICKED: i32 = 101;
/// That of one which cannot have its streams.
const FAILED: i32 = 1;
/// How often a child tries again to arrange its descriptors, and after which pause: its parent takes it for started.
const MAX_FAILURES: u32 = 10;
const FAILURE_PAUSE: Duration = Duration::from_millis(5);

/// Forks this process. The child has `streams`, runs `run`, and exits with what that returns.
///
/// What `run` has of descriptors that an exec would close is `/dev/null` by then.
///
/// # Errors
///
/// The process has more than one thread, or the kernel refuses.
pub fn fork(streams: Streams<'_>, run: impl FnOnce() -> u8) -> io::Result<Pid> {
    refuse_threads()?;
    go_on(system_call::fork()?, streams, run)
}

/// As [`fork`], but the child is one of the parent of this process, which reaps it.
///
/// # Errors
///
/// As of [`fork`].
pub fn fork_beside(streams: Streams<'_>, run: impl FnOnce() -> u8) -> io::Result<Pid> {
    refuse_threads()?;
    go_on(system_call::fork_beside()?, streams, run)
}

/// As [`fork`], but the child is the first process of a pid namespace, and has a mount namespace, as yet with the mounts of
/// this process, and an IPC namespace of its own.
///
/// # Errors
///
/// As of [`fork`]; also without `CAP_SYS_ADMIN`.
pub fn fork_in_namespaces(streams: Streams<'_>, run: impl FnOnce() -> u8) -> io::Result<Pid> {
    refuse_threads()?;
    go_on(system_call::fork_in_namespaces()?, streams, run)
}

/// As [`fork`], but the child begins in the control group of version 2 of whose directory `group` is a descriptor.
///
/// A process that joins a group by its `cgroup.procs` waits until every CPU has been at rest once, mostly for some
/// milliseconds.
///
/// # Errors
///
/// As of [`fork`]; also before Linux 5.7, and where this process may not put another one into the group.
pub fn fork_into(
    group: BorrowedFd<'_>,
    streams: Streams<'_>,
    run: impl FnOnce() -> u8,
) -> io::Result<Pid> {
    refuse_threads()?;
    go_on(system_call::fork_into(group)?, streams, run)
}

/// Returns in the parent only.
fn go_on(side: Side, streams: Streams<'_>, run: impl FnOnce() -> u8) -> io::Result<Pid> {
    match side {
        Side::Parent(pid) => Ok(pid),
        Side::Child => {
            // Above this is the stack of the parent, to which the child never returns.
            // Its streams may be replaced by what follows.
            let streams = persist(|| streams.take_their_place());
            let child = || match streams.and_then(|()| persist(replace_what_exec_closes)) {
                Ok(()) => i32::from(run()),
                Err(_) => FAILED,
            };
            std::process::exit(catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED))
        }
    }
}

fn persist(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut left = MAX_FAILURES;
    loop {
        match call() {
            Err(_) if left > 0 => {
                left -= 1;
                std::thread::sleep(FAILURE_PAUSE);
            }
            result => return result,
        }
    }
}
