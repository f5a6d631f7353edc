//! The child process of `record`, `session` and `exec -- COMMAND`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, bounded};
use memsample_inherited::tell;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::exit::ExitCode;

/// Signals with which a person, a test runner or a timer stops or wakes a program. Those that this program did not
/// forward would end it, and leave the command running.
pub(crate) const FORWARDED: [i32; 7] =
    [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// A command that runs.
pub(crate) struct RunningCommand {
    process: UnreapedProcess,
    ended: Receiver<CommandEnd>,
}

/// The pid of a process until it is reaped: a later process may have it then.
#[derive(Clone, Default)]
struct UnreapedProcess(Arc<Mutex<Option<Pid>>>);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandEnd {
    Exited(i32),
    Signaled(i32),
}

impl CommandEnd {
    /// Says why it is not known how a command ended, which is a failure of this program.
    fn unknown(error: io::Error) -> Self {
        tell(format!("memsample: how the command ended is not known: {error}"));
        Self::Exited(ExitCode::OWN_FAILURE.into())
    }

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
        let process = UnreapedProcess::default();
        let reaped = process.clone();
        // Before the command: with a limit of threads, a command would run that nobody waits for.
        std::thread::Builder::new().name("memsample-wait".to_owned()).spawn(move || {
            let Ok(mut child) = to_wait_for.recv() else { return };
            let end = reaped.reap(&mut child).map_or_else(CommandEnd::unknown, end_of);
            let _ = sender.send(end);
        })?;
        let mut command = Command::new(program);
        command.args(arguments).envs(environment);
        let child = command.spawn().or_else(|error| match as_script(&command, &error) {
            Some(mut script) => script.spawn(),
            None => Err(error),
        })?;
        *process.pid() = Some(Pid::from_child(&child));
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
        if [SIGINT, SIGQUIT].contains(&signal) && is_in_foreground() {
            return;
        }
        if let (Some(pid), Some(signal)) = (*self.process.pid(), Signal::from_named_raw(signal)) {
            // Fails if the command has ended meanwhile, or has become another user.
            let _ = kill_process(pid, signal);
        }
    }
}

impl UnreapedProcess {
    fn pid(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the process, lets nobody send it a signal any more, and reaps it.
    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let waited = if has_ended(Pid::from_child(child)) { None } else { Some(child.wait()) };
        *self.pid() = None;
        waited.unwrap_or_else(|| child.wait())
    }
}

/// Returns the shell that runs a file which is no program to the kernel, as `execvp` has it run a script without a first line
/// that names an interpreter; `None` for another error.
fn as_script(command: &Command, error: &io::Error) -> Option<Command> {
    if Errno::from_io_error(error) != Some(Errno::NOEXEC) {
        return None;
    }
    let program = Path::new(command.get_program());
    let path = if command.get_program().as_bytes().contains(&b'/') {
        program.to_owned()
    } else {
        let directories = env::var_os("PATH")?;
        let mut files = env::split_paths(&directories).map(|directory| directory.join(program));
        files.find(|path| access(path, Access::EXEC_OK).is_ok())?
    };
    let mut shell = Command::new("/bin/sh");
    shell.arg(path).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(shell)
}

/// Waits until a child has ended, and leaves it to be reaped; returns whether the kernel can do that.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(child), options) {
            Err(Errno::INTR) => {}
            waited => return waited.is_ok(),
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
