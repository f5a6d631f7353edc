//! Clocks of tests. One does not wait: where the sampling thread would sleep, a script runs instead, and then the time is
//! what the thread would have waited for, or what the script made of it. The other is that of the machine.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use memsample::clock::{Clock, Now, SystemClock, Timer};
use memsample::{Recorder, Recording};

/// The time at which every scripted recording begins.
pub(crate) const START: Now = Now {
    boot_ns: 1_000_000_000_000,
    monotonic_ns: 1_000_000_000_000,
    utc_ns: 1_700_000_000_000_000_000,
};

/// Ticks that the sampler may be ahead of the writer, fewer than there are batches.
const MAX_AHEAD: u64 = 8;

pub(crate) struct ScriptedClock(Arc<State>);

struct State {
    now: Mutex<Now>,
    script: Mutex<Script>,
    /// Ticks that were written.
    written: AtomicU64,
}

/// Runs before each tick, with its number from 0 and the time at which it is planned.
pub(crate) type Script = Box<dyn FnMut(u64, &mut Now) + Send>;

impl ScriptedClock {
    pub(crate) fn new(script: impl FnMut(u64, &mut Now) + Send + 'static) -> Self {
        let (now, script) = (Mutex::new(START), Mutex::new(Box::new(script) as Script));
        Self(Arc::new(State { now, script, written: AtomicU64::new(0) }))
    }

    pub(crate) fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    /// Holds the sampler back before its next tick, until the result is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Script> {
        self.0.script.lock().unwrap()
    }

    /// Lets the sampler run until the recording ends by itself, never far ahead of the writer.
    pub(crate) fn run(&self, recorder: Recorder) -> Recording {
        self.run_all(vec![recorder], 1).remove(0)
    }

    /// Says that so many ticks were written, for those who look themselves.
    pub(crate) fn pace(&self, written: u64) {
        self.0.written.store(written, Ordering::Release);
    }

    /// Does so with several recordings, of which the first so many have a tick at every sweep.
    pub(crate) fn run_all(
        &self,
        recorders: Vec<Recorder>,
        with_every_sweep: usize,
    ) -> Vec<Recording> {
        while !recorders.iter().all(Recorder::is_finished) {
            let going_on = recorders.iter().take(with_every_sweep).filter(|it| !it.is_finished());
            if let Some(written) = going_on.map(|it| it.status().totals.ticks).min() {
                self.pace(written);
            }
            std::thread::yield_now();
        }
        recorders.into_iter().map(|recorder| recorder.stop().unwrap()).collect()
    }
}

impl Clock for ScriptedClock {
    fn now(&self) -> Now {
        *self.0.now.lock().unwrap()
    }

    fn timer(&self) -> io::Result<Box<dyn Timer>> {
        Ok(Box::new(ScriptedTimer { state: Arc::clone(&self.0), tick: 0 }))
    }
}

struct ScriptedTimer {
    state: Arc<State>,
    tick: u64,
}

impl Timer for ScriptedTimer {
    fn wait_until(&mut self, deadline_boot_ns: u64, _wake: BorrowedFd<'_>) -> io::Result<()> {
        while self.tick > self.state.written.load(Ordering::Acquire) + MAX_AHEAD {
            std::thread::yield_now();
        }
        let mut script = self.state.script.lock().unwrap();
        let mut now = self.state.now.lock().unwrap();
        let waited_ns = deadline_boot_ns.saturating_sub(now.boot_ns);
        now.boot_ns += waited_ns;
        now.monotonic_ns += waited_ns;
        now.utc_ns += i64::try_from(waited_ns).unwrap();
        script(self.tick, &mut now);
        self.tick += 1;
        Ok(())
    }
}

/// The clock of the machine, of which each reading is given to a function that may set it forward.
pub(crate) struct WatchedClock(pub(crate) Box<dyn Fn(Now) -> Now + Send + Sync>);

impl Clock for WatchedClock {
    fn now(&self) -> Now {
        self.0(SystemClock::shared().now())
    }

    fn timer(&self) -> io::Result<Box<dyn Timer>> {
        SystemClock::shared().timer()
    }
}
