use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, pidfd_open, pidfd_send_signal};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::SIGINT;

/// The command that is recorded.
pub(super) struct RunningCommand {
    /// Names this process, and no other one that gets its pid later.
    process: Option<OwnedFd>,
    exit_code: Receiver<i32>,
}

impl RunningCommand {
    /// Starts the command with our standard streams.
    pub(super) fn spawn(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut child = Command::new(program).args(arguments).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (sender, exit_code) = bounded(1);
        std::thread::Builder::new().name("memsample-wait".to_owned()).spawn(move || {
            let code = child.wait().map_or(1, exit_code_of);
            let _ = sender.send(code);
        })?;
        Ok(Self { process, exit_code })
    }

    /// Returns a channel that tells the exit code, or 128 and the signal, once.
    pub(super) fn exit_code(&self) -> &Receiver<i32> {
        &self.exit_code
    }

    /// Passes a signal on that was sent to us, unless the terminal has sent it to both.
    pub(super) fn forward(&self, signal: i32) {
        if signal == SIGINT && is_in_foreground() {
            return;
        }
        if let (Some(process), Some(signal)) = (&self.process, Signal::from_named_raw(signal)) {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(process, signal);
        }
    }
}

fn exit_code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1)
}

/// Says whether Ctrl-C on the terminal reaches us, and so the command too.
fn is_in_foreground() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}
