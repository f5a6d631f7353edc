//! What all requests share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::{Semaphore, watch};

use super::flight::Flight;
use super::memory_limit::MemoryLimit;
use super::options::Options;
use super::recordings::RecordingsDirectory;
use super::sessions::Sessions;
use super::work::Work;
use memsample_client::wire::Protection;
use memsample_config::Retention;

/// Large bodies that are read at once.
const LARGE_BODIES: usize = 64;

/// All that requests have in common.
pub(super) struct State {
    pub(super) started: Instant,
    /// Changes on SIGHUP.
    options: RwLock<Arc<Options>>,
    pub(super) protection: Protection,
    pub(super) recordings: Arc<RecordingsDirectory>,
    pub(super) sessions: Sessions,
    pub(super) work: Work,
    pub(super) memory: MemoryLimit,
    /// Permits for large bodies.
    pub(super) bodies: Semaphore,
    pub(super) flight: Flight,
    pub(super) counters: Counters,
    /// Whether the daemon is ending.
    pub(super) ending: watch::Receiver<bool>,
}

/// What was served so far.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) marks: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) recovered: AtomicU64,
    pub(super) removed: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_answer(&self, failed: bool) {
        Self::add(&self.requests);
        if failed {
            Self::add(&self.refused);
        }
    }
}

impl State {
    pub(super) fn new(
        options: Arc<Options>,
        protection: Protection,
        recordings: RecordingsDirectory,
        ending: watch::Receiver<bool>,
    ) -> Self {
        let recordings = Arc::new(recordings);
        Self {
            started: Instant::now(),
            sessions: Sessions::new(Arc::clone(&recordings), &options.recording),
            work: Work::default(),
            memory: MemoryLimit::default(),
            bodies: Semaphore::new(LARGE_BODIES),
            flight: Flight::new(Arc::clone(&recordings), options.flight.clone()),
            options: RwLock::new(options),
            protection,
            recordings,
            counters: Counters::default(),
            ending,
        }
    }

    pub(super) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_options(&self, options: Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    pub(super) fn retention(&self) -> Retention {
        self.options().retention
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Returns what is wrong now, for `/healthz`.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let path: PathBuf = self.recordings.path().to_owned();
        if let Err(error) = self.recordings.check() {
            problems.push(format!(
                "the recordings directory `{}` cannot be used: {error}",
                path.display()
            ));
        }
        problems.extend(self.flight.problem());
        problems.extend(self.sessions.all().iter().filter_map(|session| session.problem()));
        problems
    }
}
