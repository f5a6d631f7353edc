//! The signals that stop a recording or a run.

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Maximum number of signals that wait to be handled; later ones are dropped.
const MAX_SIGNALS: usize = 16;

/// Returns a channel of the signals that arrive from now on. They no longer terminate this program.
pub(crate) fn signals() -> anyhow::Result<Receiver<i32>> {
    signals_of(&[SIGINT, SIGTERM, SIGHUP])
}

/// Returns a channel of the given signals, like [`signals`].
pub(crate) fn signals_of(signals: &[i32]) -> anyhow::Result<Receiver<i32>> {
    let mut signals = Signals::new(signals).context("cannot handle signals")?;
    let (sender, receiver) = bounded(MAX_SIGNALS);
    std::thread::Builder::new().name("memsample-signal".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let _ = sender.try_send(signal);
        }
    })?;
    Ok(receiver)
}
