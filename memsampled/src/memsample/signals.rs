//! The signals that stop a recording or a run.

use std::io;
use std::sync::Arc;
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

/// A signal that asks for the end came while there was work to stop.
static CAME: AtomicBool = AtomicBool::new(false);
/// There is nothing to stop: work has not begun, or there is nothing left but the printing of results.
static IS_IDLE: AtomicBool = AtomicBool::new(false);

/// Signals that ask for the end of what runs.
pub(crate) const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Returns a channel of the signals that arrive from now on. They no longer terminate this program.
pub(crate) fn signals() -> anyhow::Result<Receiver<i32>> {
    signals_of(&ENDING)
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
                if ENDING.contains(&signal) {
                    if IS_IDLE.load(Ordering::Relaxed) {
                        end_by(signal);
                    }
                    CAME.store(true, Ordering::Relaxed);
                }
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

/// Says that all that was to be kept is on disk. From now on a signal ends this program.
pub(crate) fn work_is_done() {
    IS_IDLE.store(true, Ordering::Relaxed);
}

/// The printing of results, after which there is no work left but what a signal may end.
pub(crate) struct Printing(Arc<AtomicBool>);

impl Printing {
    /// Begins to print. If a signal has come already, who reads has a while; then this program ends with `code`.
    pub(crate) fn begin(code: ExitCode) -> Self {
        work_is_done();
        let is_over = Arc::new(AtomicBool::new(false));
        let printing = Self(Arc::clone(&is_over));
        if !CAME.load(Ordering::Relaxed) {
            return printing;
        }
        let thread = std::thread::Builder::new().name("memsample-end".to_owned());
        // Without a thread, another signal ends it.
        let _ = thread.spawn(move || {
            std::thread::sleep(PATIENCE);
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let stderr = io::stderr();
            let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
            if poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
                tell(format!(
                    "error: after the signal, what was printed was not read within {PATIENCE:?}: the rest is lost"
                ));
            }
            code.exit()
        });
        printing
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends this program by a signal, so that its parent sees the same status; returns only for a signal that cannot end it.
pub(crate) fn end_by(signal: i32) {
    if is_init() {
        // The kernel does not end PID 1 by a signal of its own.
        ExitCode::of_command(128 + signal).exit();
    }
    let _ = emulate_default_handler(signal);
}
