//! Time, passed in so that a test can make it jump.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The three clocks of one instant, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since boot, time suspended included (`CLOCK_BOOTTIME`). All deadlines are on this clock, as
    /// are the start times of processes.
    pub boot_ns: u64,
    /// Since boot, time suspended not included (`CLOCK_MONOTONIC`).
    pub monotonic_ns: u64,
    /// Since 1970-01-01 UTC (`CLOCK_REALTIME`). May jump; read only to notice that it did.
    pub utc_ns: i64,
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// Reads the clocks.
    fn now(&self) -> Now;

    /// Reads how much CPU time the calling thread has used, in nanoseconds.
    fn thread_cpu_ns(&self) -> u64 {
        unsigned_nanos(clock_gettime(ClockId::ThreadCPUTime))
    }

    /// Makes a timer that waits on this clock.
    ///
    /// # Errors
    ///
    /// The error of the system call, such as no free descriptor.
    fn timer(&self) -> io::Result<Box<dyn Timer>>;
}

/// Waits for instants of one clock.
pub trait Timer: Send {
    /// Waits until `deadline_boot_ns`, or until `wake` can be read, whichever comes first.
    ///
    /// Returns at once where the deadline has passed.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    fn wait_until(&mut self, deadline_boot_ns: u64, wake: BorrowedFd<'_>) -> io::Result<()>;
}

/// The clocks of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Returns the system clock in the form in which the sampler takes it.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let utc = clock_gettime(ClockId::Realtime);
        Now {
            boot_ns: unsigned_nanos(clock_gettime(ClockId::Boottime)),
            monotonic_ns: unsigned_nanos(clock_gettime(ClockId::Monotonic)),
            utc_ns: utc.tv_sec.saturating_mul(NANOS_PER_SECOND as i64).saturating_add(utc.tv_nsec),
        }
    }

    fn timer(&self) -> io::Result<Box<dyn Timer>> {
        // A timer descriptor is exact, where the timeout of `poll` may be late by the timer slack of
        // the thread; and it is absolute, so that no error adds up.
        let file = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        Ok(Box::new(KernelTimer { file }))
    }
}

struct KernelTimer {
    file: OwnedFd,
}

impl Timer for KernelTimer {
    fn wait_until(&mut self, deadline_boot_ns: u64, wake: BorrowedFd<'_>) -> io::Result<()> {
        let deadline = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: (deadline_boot_ns / NANOS_PER_SECOND) as i64,
                // An all-zero time would disarm the timer.
                tv_nsec: (deadline_boot_ns % NANOS_PER_SECOND).max(1) as i64,
            },
        };
        timerfd_settime(&self.file, TimerfdTimerFlags::ABSTIME, &deadline)?;
        loop {
            let mut events = [
                PollFd::new(&self.file, PollFlags::IN),
                PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
            ];
            match poll(&mut events, None) {
                Ok(_) => return Ok(()),
                // A signal that the linking program handles on this thread.
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Clocks that count from boot are never negative.
fn unsigned_nanos(time: Timespec) -> u64 {
    (time.tv_sec.unsigned_abs())
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(time.tv_nsec.unsigned_abs())
}
