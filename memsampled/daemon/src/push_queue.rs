//! The recordings that wait to be pushed into a store: an empty file each, so that the queue survives the daemon.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
#[cfg(feature = "push")]
use std::time::{Duration, Instant};

/// The directory of the queue, in that of the recordings.
const DIRECTORY: &str = ".push";
/// How many recordings may wait. Beyond, the one that has waited longest is given up.
const MAX_WAITING: usize = 10_000;

/// The recordings that wait to be pushed.
pub(super) struct PushQueue {
    directory: PathBuf,
    /// Whether recordings are to be pushed at all.
    wanted: AtomicBool,
    /// Something was added, or the daemon ends.
    changed: (Mutex<bool>, Condvar),
    /// What was pushed.
    pub(super) pushed: AtomicU64,
    /// What never will be: it is gone, damaged, or waited longest in a full queue.
    pub(super) given_up: AtomicU64,
}

impl PushQueue {
    pub(super) fn new(recordings: &std::path::Path) -> Self {
        Self {
            directory: recordings.join(DIRECTORY),
            wanted: AtomicBool::new(false),
            changed: (Mutex::new(false), Condvar::new()),
            pushed: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    /// From now on what is added is kept.
    #[cfg(feature = "push")]
    pub(super) fn want(&self) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.wanted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a recording that was closed.
    pub(super) fn add(&self, id: &str) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = fs::File::create(self.directory.join(id)) {
            tracing::error!("`{id}` will not be pushed: cannot note that it waits: {error}");
            self.given_up.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let waiting = self.waiting();
        for id in waiting.iter().take(waiting.len().saturating_sub(MAX_WAITING)) {
            self.give_up(id, "too many recordings wait");
        }
        self.wake();
    }

    /// Returns the ids of what waits, the oldest first: ids begin with their time.
    pub(super) fn waiting(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut waiting: Vec<String> = names.collect();
        waiting.sort_unstable();
        waiting
    }

    /// A recording was pushed.
    #[cfg(feature = "push")]
    pub(super) fn done(&self, id: &str) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
        self.remove(id);
    }

    /// A recording will never be pushed.
    pub(super) fn give_up(&self, id: &str, why: &str) {
        tracing::error!("`{id}` is not pushed: {why}");
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.remove(id);
    }

    fn remove(&self, id: &str) {
        match fs::remove_file(self.directory.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("cannot remove `{id}` from the recordings that wait: {error}");
            }
            _ => {}
        }
    }

    pub(super) fn wake(&self) {
        let (changed, condition) = &self.changed;
        *changed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        condition.notify_all();
    }

    /// Waits until something was added, for so long at most.
    #[cfg(feature = "push")]
    pub(super) fn wait(&self, at_most: Option<Duration>) {
        let (changed, condition) = &self.changed;
        let mut guard = changed.lock().unwrap_or_else(PoisonError::into_inner);
        let until = at_most.map(|at_most| Instant::now() + at_most);
        while !*guard {
            guard = match until {
                None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = condition.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *guard = false;
    }
}
