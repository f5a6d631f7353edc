//! What a program must do as PID 1: reap orphans, and get signals to whom they are meant for.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::arrivals::ArrivingSignals;
use super::signals::is_ignored;
use super::streams::tell;
use rustix::process::{Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, wait};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Signals that are for the program below.
const FORWARDED: [i32; 9] =
    [SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

/// Returns whether this process is PID 1 of its namespace, as what a container runs.
#[must_use]
pub fn is_init() -> bool {
    getpid().as_raw_nonzero().get() == 1
}

/// As PID 1, runs this program again below, forwards signals to it and reaps orphans until it ends, and returns its exit
/// code, or 128 and the signal that ended it. `None` if this is not PID 1, or if it cannot be run again, which is said.
///
/// The kernel gives PID 1 no default action for signals and all orphans as children. A process that only waits keeps
/// both apart from children that the program itself waits for.
#[must_use]
pub fn run_below_init() -> Option<u8> {
    if !is_init() {
        return None;
    }
    match start() {
        Ok((program, signals)) => Some(wait_for(program, signals)),
        Err(error) => {
            tell(format!("warning: orphans are not reaped by this PID 1: {error}"));
            None
        }
    }
}

fn start() -> std::io::Result<(Pid, ArrivingSignals)> {
    let signals = FORWARDED.into_iter().filter(|&signal| !is_ignored(signal));
    let signals = ArrivingSignals::of(signals.chain([SIGCHLD]))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("memsample"));
    let program = Command::new(std::env::current_exe()?).arg0(name).args(arguments).spawn()?;
    let pid = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    Ok((pid.ok_or_else(|| std::io::Error::other("the kernel gave no pid"))?, signals))
}

fn wait_for(program: Pid, mut signals: ArrivingSignals) -> u8 {
    loop {
        let arrived = signals.wait();
        // Whatever arrived: a SIGCHLD may have been for more than one end.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let code = status.exit_status().or(status.terminating_signal().map(|it| 128 + it));
            if let (true, Some(code)) = (pid == program, code) {
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
        }
        // Ctrl-C on the terminal has reached the program too.
        let meant = |&signal: &i32| signal != SIGCHLD && (signal != SIGINT || !is_in_foreground());
        for signal in arrived.filter(meant).filter_map(Signal::from_named_raw) {
            let _ = kill_process(program, signal);
        }
    }
}

fn is_in_foreground() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}
