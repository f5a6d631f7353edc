//! The child process of `record`, `session` and `exec -- COMMAND`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use crossbeam_channel::{Receiver, bounded};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, pidfd_open, pidfd_send_signal};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::SIGINT;

/// A command that runs.
pub(crate) struct RunningCommand {
    /// Refers to this process, and never to a later one with the same pid.
    process: Option<OwnedFd>,
    ended: Receiver<CommandEnd>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandEnd {
    Exited(i32),
    Signaled(i32),
}

impl CommandEnd {
    /// Returns the exit code, or 128 and the signal.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

impl RunningCommand {
    /// Starts the command with the standard streams of this program.
    pub(crate) fn spawn(program: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        Self::spawn_with(program, arguments, [])
    }

    /// Starts the command with variables added to its environment.
    pub(crate) fn spawn_with(
        program: &OsStr,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (&'static str, OsString)>,
    ) -> io::Result<Self> {
        let (started, to_wait_for) = bounded::<Child>(1);
        let (sender, ended) = bounded(1);
        // Before the command: with a limit of threads, a command would run that nobody waits for.
        std::thread::Builder::new().name("memsample-wait".to_owned()).spawn(move || {
            let Ok(mut child) = to_wait_for.recv() else { return };
            let end = child.wait().map_or(CommandEnd::Exited(1), end_of);
            let _ = sender.send(end);
        })?;
        let child = Command::new(program).args(arguments).envs(environment).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The thread takes it: it does nothing else.
        let _ = started.send(child);
        Ok(Self { process, ended })
    }

    /// Returns a channel that receives one message: how the command ended.
    pub(crate) fn ended(&self) -> &Receiver<CommandEnd> {
        &self.ended
    }

    /// Forwards a signal that this program received, unless the terminal has sent it to both.
    pub(crate) fn forward(&self, signal: i32) {
        if signal == SIGINT && is_in_foreground() {
            return;
        }
        if let (Some(process), Some(signal)) = (&self.process, Signal::from_named_raw(signal)) {
            // Fails if the command has ended meanwhile.
            let _ = pidfd_send_signal(process, signal);
        }
    }
}

/// Executes a command in place of this program, as where there can be no other process. Returns why it could not.
pub(crate) fn become_command(program: &OsStr, arguments: &[OsString]) -> io::Error {
    Command::new(program).args(arguments).exec()
}

/// Returns whether an error says that there can be no other process, thread or descriptor, which is no fault of the
/// command.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}

/// Returns what the largest process had at most that this program has waited for, in bytes; `None` if there was none: of
/// one that it did not wait for, nothing is known.
pub(crate) fn reaped_max_rss_bytes() -> Option<u64> {
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?.max_rss();
    u64::try_from(kibibytes).ok()?.checked_mul(1024).filter(|&bytes| bytes > 0)
}

fn end_of(status: ExitStatus) -> CommandEnd {
    match status.signal() {
        Some(signal) => CommandEnd::Signaled(signal),
        None => CommandEnd::Exited(status.code().unwrap_or(1)),
    }
}

/// Returns whether Ctrl-C on the terminal reaches this program, and thus the command too.
fn is_in_foreground() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}
