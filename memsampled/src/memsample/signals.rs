//! The signals that stop a recording or a run.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};
use memsample_inherited::{ArrivingSignals, is_ignored, is_init, tell};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::exit::ExitCode;

/// Maximum number of signals that wait to be handled; later ones are dropped.
const MAX_SIGNALS: usize = 16;
/// How long who reads the results may take after a signal: who sent it waits for the end.
const PATIENCE: Duration = Duration::from_secs(3);

/// A signal came while there was work to stop.
static CAME: AtomicBool = AtomicBool::new(false);
/// There is nothing to stop: work has not begun, or there is nothing left but the printing of results.
static IS_IDLE: AtomicBool = AtomicBool::new(false);

/// Returns a channel of the signals that arrive from now on. They no longer terminate this program.
pub(crate) fn signals() -> anyhow::Result<Receiver<i32>> {
    signals_of(&[SIGINT, SIGTERM, SIGHUP])
}

/// Returns a channel of the given signals, like [`signals`]. Those that were ignored stay ignored, as `nohup` wants it.
pub(crate) fn signals_of(signals: &[i32]) -> anyhow::Result<Receiver<i32>> {
    let wanted = signals.iter().copied().filter(|&signal| !is_ignored(signal));
    let mut signals = ArrivingSignals::of(wanted).context("cannot handle signals")?;
    let (sender, receiver) = bounded(MAX_SIGNALS);
    let thread = std::thread::Builder::new().name("memsample-signal".to_owned());
    let spawned = thread.spawn(move || {
        loop {
            for signal in signals.wait() {
                if IS_IDLE.load(Ordering::Relaxed) {
                    end_by(signal);
                }
                CAME.store(true, Ordering::Relaxed);
                let _ = sender.try_send(signal);
            }
        }
    });
    spawned.context("cannot handle signals: there can be no other thread")?;
    Ok(receiver)
}

/// Says whether there is nothing to stop yet, so that a signal ends this program at once.
pub(crate) fn is_preparing(preparing: bool) {
    IS_IDLE.store(preparing, Ordering::Relaxed);
}

/// Says that all that is left is to print. From now on a signal ends this program, which may wait for who reads. If one
/// has come already, it waits for them only for a while, and ends with `code`.
pub(crate) fn work_is_done(code: ExitCode) {
    IS_IDLE.store(true, Ordering::Relaxed);
    if !CAME.load(Ordering::Relaxed) {
        return;
    }
    let thread = std::thread::Builder::new().name("memsample-end".to_owned());
    // Without a thread, another signal ends it.
    let _ = thread.spawn(move || {
        std::thread::sleep(PATIENCE);
        let stderr = io::stderr();
        let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
        if poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
            tell(format!(
                "error: after the signal, what was printed was not read within {PATIENCE:?}: the rest is lost"
            ));
        }
        code.exit()
    });
}

/// Ends this program by a signal, so that its parent sees the same status; returns only for a signal that cannot end it.
pub(crate) fn end_by(signal: i32) {
    if is_init() {
        // The kernel does not end PID 1 by a signal of its own.
        ExitCode::of_command(128 + signal).exit();
    }
    let _ = emulate_default_handler(signal);
}
