//! The calls that fork, and those on descriptors by their number: all unsafe code of the crate.
#![allow(
    unsafe_code,
    reason = "fork(2) copies a process, and a number of a descriptor has no owner; each call says what it keeps to"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use libc::{c_int, c_long, pid_t};
use rustix::process::Pid;

/// Of `linux/sched.h`. That of the package libc has the type of the flags of `clone`, which are too small for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// On which side of a fork this is.
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

/// Forks. The caller has seen that the process has one thread.
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: all locks of the process are those of this thread, which the child has. What the child owns twice it owns in
    // its own memory, and of its descriptors the caller says what they are.
    side(unsafe { libc::fork() })
}

/// Forks, and makes the parent of this process the parent of the child. The caller has seen that the process has one thread.
pub(crate) fn fork_beside() -> io::Result<Side> {
    fork_with(libc::CLONE_PARENT)
}

/// Forks, and gives the child a pid, a mount and an IPC namespace of its own. The caller has seen that the process has one
/// thread.
pub(crate) fn fork_in_namespaces() -> io::Result<Side> {
    fork_with(libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC)
}

/// Forks with flags of clone(2) that share nothing with the child.
fn fork_with(flags: c_int) -> io::Result<Side> {
    let flags = c_long::from(flags | libc::SIGCHLD);
    let none: c_long = 0;
    // SAFETY: as for `fork`. Without a stack of its own the child goes on with its copy of this one, and no address is
    // passed. The C library does not learn of it: its locks are free, since no other thread has them, and the number of the
    // thread that it keeps is that of the parent, which matters to `raise` of some libraries and to locks between processes.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    side(pid_t::try_from(pid).unwrap_or(-1))
}

/// Forks, and has the child begin in a control group of version 2, by the descriptor of its directory. The caller has seen
/// that the process has one thread.
pub(crate) fn fork_into(group: BorrowedFd<'_>) -> io::Result<Side> {
    let arguments = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.as_raw_fd().unsigned_abs().into(),
    };
    let size = size_of_val(&arguments);
    // SAFETY: as for `fork_with`. The kernel reads `size` bytes of what lives until the call returns, and no flag makes
    // it look at another address.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    side(pid_t::try_from(pid).unwrap_or(-1))
}

fn side(pid: pid_t) -> io::Result<Side> {
    match pid {
        0 => Ok(Side::Child),
        1.. => Pid::from_raw(pid).map(Side::Parent).ok_or_else(io::Error::last_os_error),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns whether an exec would close a descriptor; not if there is none of this number.
pub(crate) fn closes_on_exec(number: RawFd) -> bool {
    // SAFETY: it reads a flag, whoever owns the descriptor.
    let flags: c_int = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC != 0
}

/// Makes a descriptor one of another file, to be closed by an exec as before.
pub(crate) fn replace(number: RawFd, with: BorrowedFd<'_>) -> io::Result<()> {
    if number == with.as_raw_fd() {
        return Ok(());
    }
    // SAFETY: the number stays open, so that no owner of it ever meets a file that another one opens.
    match unsafe { libc::dup3(with.as_raw_fd(), number, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
