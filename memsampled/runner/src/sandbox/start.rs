//! Starts a process around a test by another one of them.

use std::io;
use std::process::{Command, Stdio};

use memsample_fork::{Streams, fork};
use rustix::process::Pid;

/// Starts a process that does `run`: forks this one, or executes the program of `command`, which does the same, where that
/// is refused. An emulator of another processor has threads of its own, and so may have a library that is preloaded.
pub(super) fn start(
    streams: Streams<'_>,
    run: impl FnOnce() -> u8,
    command: Command,
) -> io::Result<Pid> {
    fork(streams, run).or_else(|_| execute(streams, command))
}

/// Starts a program, and returns its pid: it is for the caller to reap.
pub(super) fn execute(streams: Streams<'_>, mut command: Command) -> io::Result<Pid> {
    if let Some(stdin) = streams.stdin {
        command.stdin(Stdio::from(stdin.try_clone_to_owned()?));
    }
    if let Some(stdout) = streams.stdout {
        command.stdout(Stdio::from(stdout.try_clone_to_owned()?));
    }
    if let Some(stderr) = streams.stderr {
        command.stderr(Stdio::from(stderr.try_clone_to_owned()?));
    }
    Ok(Pid::from_child(&command.spawn()?))
}
