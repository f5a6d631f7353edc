//! Compacts the store that is served, so that a query over a lab reads tens of files and not thousands.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use memsample_input::{count, with_causes};
use memsample_store::compact::{Compacted, Days, compact};
use memsample_store::{ErrorKind, Store};

/// How often the store is looked at.
const PAUSE: Duration = Duration::from_secs(5 * 60);
/// How often the runs of days that are over are put together, however few they are.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// As many runs of a day are put together while it goes on. Fewer would make many large files that are small.
const LEAST: usize = 100;

/// Compacts a store in a thread of its own, until it is dropped.
pub(crate) struct Compaction {
    is_ending: Arc<AtomicBool>,
    /// The thread sleeps until this is gone.
    awake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Compaction {
    /// Begins.
    ///
    /// # Errors
    ///
    /// There can be no other thread.
    pub(crate) fn start(store: Store) -> io::Result<Self> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (awake, is_awake) = mpsc::channel();
        let ending = Arc::clone(&is_ending);
        let thread = std::thread::Builder::new().name("memsample-large".to_owned());
        let thread = thread.spawn(move || {
            let mut last_day: Option<Instant> = None;
            loop {
                let is_daily = last_day.is_none_or(|last| last.elapsed() >= DAY);
                let before = if is_daily { today() } else { Date::MIN };
                if once(&store, Days { before, least: LEAST }, &ending) && is_daily {
                    last_day = Some(Instant::now());
                }
                match is_awake.recv_timeout(PAUSE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { is_ending, awake: Some(awake), thread: Some(thread) })
    }
}

impl Drop for Compaction {
    /// Ends it: what is begun is finished or taken back, since a lock that stays keeps others out for a minute.
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.awake = None;
        // One that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Returns whether it succeeded.
fn once(store: &Store, days: Days, is_ending: &AtomicBool) -> bool {
    match compact(store, days, &|_| (), &|| is_ending.load(Ordering::Relaxed)) {
        Ok(Compacted { runs, files, large_files, unreadable, .. }) => {
            if runs > 0 {
                tracing::info!(
                    "compacted: {} of {} are in {} now",
                    count(files, "file"),
                    count(runs, "run"),
                    count(large_files, "large file")
                );
            }
            if unreadable > 0 {
                tracing::warn!("compacted: {} cannot be read", count(unreadable, "manifest"));
            }
            true
        }
        // Another server does the same.
        Err(error) if error.kind() == ErrorKind::Exists => {
            tracing::info!("not compacted now: {error}");
            false
        }
        Err(error) => {
            tracing::warn!("not compacted: {}", with_causes(&error));
            false
        }
    }
}
