use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::clock::Clock;
use crate::recording::{ClockAnchor, Mark, MarkKind};

/// Marks that wait for the next tick, at most.
const MAX_WAITING_MARKS: usize = 16 * 1024;
/// The longest name of a mark or a test, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// A mark is on disk within this time, also where ticks are farther apart.
const MAX_MARK_DELAY: Duration = Duration::from_millis(500);

/// Why a mark was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkError {
    /// The recording has ended.
    Ended,
    /// A name has more than 4096 bytes.
    TooLong,
    /// More marks wait than the queue holds: 16384 between two ticks.
    TooMany,
}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the recording has ended",
            Self::TooLong => "the name of a mark has more than 4096 bytes",
            Self::TooMany => "too many marks at once: 16384 wait to be written",
        })
    }
}

impl std::error::Error for MarkError {}

/// What other threads say to the sampling thread.
pub(super) struct Control {
    clock: std::sync::Arc<dyn Clock>,
    anchor: ClockAnchor,
    stopped: AtomicBool,
    /// Readable when the sampling thread shall not wait for its next tick.
    wake: OwnedFd,
    wakes_for_marks: bool,
    marks: (Sender<Mark>, Receiver<Mark>),
    /// `i32::MIN` where there is none.
    command_exit_code: AtomicI32,
}

impl Control {
    pub(super) fn new(
        clock: std::sync::Arc<dyn Clock>,
        anchor: ClockAnchor,
        interval: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            clock,
            anchor,
            stopped: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            wakes_for_marks: interval > MAX_MARK_DELAY,
            marks: bounded(MAX_WAITING_MARKS),
            command_exit_code: AtomicI32::new(i32::MIN),
        })
    }

    pub(super) fn mark(
        &self,
        kind: MarkKind,
        name: &str,
        test: Option<&str>,
    ) -> Result<(), MarkError> {
        if self.is_stopped() {
            return Err(MarkError::Ended);
        }
        if name.len().max(test.map_or(0, str::len)) > MAX_NAME_BYTES {
            return Err(MarkError::TooLong);
        }
        let boot_ns = self.clock.now().boot_ns;
        let mark = Mark {
            ts_ms: self.anchor.utc_ms(boot_ns),
            boot_ns,
            kind,
            name: name.to_owned(),
            test: test.map(str::to_owned),
        };
        self.marks.0.try_send(mark).map_err(|error| match error {
            TrySendError::Full(_) => MarkError::TooMany,
            TrySendError::Disconnected(_) => MarkError::Ended,
        })?;
        if self.wakes_for_marks {
            self.wake();
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn set_command_exit_code(&self, code: i32) {
        self.command_exit_code.store(code, Ordering::Release);
    }

    pub(super) fn command_exit_code(&self) -> Option<i32> {
        Some(self.command_exit_code.load(Ordering::Acquire)).filter(|&code| code != i32::MIN)
    }

    /// Returns the marks that wait.
    pub(super) fn waiting_marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.marks.1.try_iter()
    }

    pub(super) fn wake_file(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the sampling thread wait again.
    pub(super) fn clear_wake(&self) {
        // It would block if nobody had called.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn wake(&self) {
        // It would block only after 2^64 calls.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}
