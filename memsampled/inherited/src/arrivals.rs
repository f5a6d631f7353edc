//! The signals that arrive, as what to do next.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::iterator::backend::{Pending, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;

/// The signals that arrive from its making on. They no longer end this program.
///
/// A handler notes the signal and sends a byte to who waits. Where the byte cannot be sent or received, the signal is
/// found a second later: none is lost, as with an iterator that ends its thread with the first failure.
#[derive(Debug)]
pub struct ArrivingSignals(SignalDelivery<UnixStream, SignalOnly>);

impl ArrivingSignals {
    /// How often signals are looked for that came without a byte through the socket.
    pub const LOOK_PAUSE: Duration = Duration::from_secs(1);
    /// After a failure, so that one that stays does not take a processor.
    pub const FAILURE_PAUSE: Duration = Duration::from_millis(20);

    /// Handles these signals.
    ///
    /// # Errors
    ///
    /// There can be no socket, or the kernel refuses a handler.
    pub fn of(signals: impl IntoIterator<Item = i32>) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self)
    }

    /// Returns a descriptor that can be read when a signal has come, for who waits for more than signals.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn socket(&self) -> io::Result<UnixStream> {
        self.0.get_read().try_clone()
    }

    /// Returns the signals that have come since the last call: each once, and sometimes none.
    pub fn pending(&mut self) -> Pending<SignalOnly> {
        self.0.pending()
    }

    /// Waits, and returns the signals that came meanwhile: each once, and sometimes none.
    pub fn wait(&mut self) -> Pending<SignalOnly> {
        let mut files = [PollFd::new(self.0.get_read(), PollFlags::IN)];
        let pause = Timespec { tv_sec: Self::LOOK_PAUSE.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut files, Some(&pause));
        if ready.is_err_and(|errno| errno != rustix::io::Errno::INTR) {
            std::thread::sleep(Self::FAILURE_PAUSE);
        }
        self.0.pending()
    }
}
