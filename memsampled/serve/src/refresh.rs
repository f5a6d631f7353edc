//! Keeps the index up to date: what came last each second, everything each minute.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use memsample_store::{ErrorKind, Store};
use serde::Serialize;

use crate::index::{Index, Refreshed};

/// How often the store is asked what came last.
const NEWS: Duration = Duration::from_secs(1);
/// How often all manifests are listed: after a step of a clock, news may not be where it is looked for.
const ALL: Duration = Duration::from_secs(60);
/// How far back news is looked for: clocks of machines differ.
const BACK: SignedDuration = SignedDuration::from_mins(10);

/// How far the index is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// When the store was compared last.
    pub compared: Option<Timestamp>,
    /// Why that did not succeed since.
    pub problem: Option<String>,
    /// How many of how many manifests were read, while many are read.
    pub reading: Option<(usize, usize)>,
    /// How often the index changed since this server began.
    #[serde(skip)]
    pub changes: u64,
}

/// Keeps an index up to date in a thread of its own, until it is dropped.
pub struct Refresher {
    progress: Arc<Mutex<Progress>>,
    ending: Arc<AtomicBool>,
}

impl Refresher {
    /// Begins.
    ///
    /// # Errors
    ///
    /// There can be no other thread.
    pub fn start(store: Store, index: Index) -> std::io::Result<Self> {
        let refresher = Self { progress: Arc::default(), ending: Arc::default() };
        let (progress, ending) = (Arc::clone(&refresher.progress), Arc::clone(&refresher.ending));
        let thread = std::thread::Builder::new().name("memsample-index".to_owned());
        thread.spawn(move || refresh(&store, &index, &progress, &ending))?;
        Ok(refresher)
    }

    /// Returns how far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

fn refresh(store: &Store, index: &Index, progress: &Mutex<Progress>, ending: &AtomicBool) {
    let set = |change: &dyn Fn(&mut Progress)| {
        change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut last_all: Option<Instant> = None;
    let mut seen: HashSet<String> = HashSet::new();
    while !ending.load(Ordering::Relaxed) {
        let is_all = last_all.is_none_or(|last| last.elapsed() >= ALL);
        let refreshed = match is_all {
            true => index
                .refresh(store, &|done, all| set(&|progress| progress.reading = Some((done, all))))
                .map_err(|error| error.to_string()),
            false => news(store, index, &mut seen),
        };
        match refreshed {
            Ok(refreshed) => {
                let is_changed = refreshed != Refreshed::default();
                if is_changed {
                    let Refreshed { added, removed, damaged } = refreshed;
                    tracing::info!(
                        "index: {added} runs read, {removed} removed, {damaged} damaged"
                    );
                }
                if is_all {
                    last_all = Some(Instant::now());
                }
                set(&|progress| {
                    let changes = progress.changes + u64::from(is_changed);
                    let compared = Some(Timestamp::now());
                    *progress = Progress { compared, changes, ..Progress::default() };
                });
            }
            Err(problem) => {
                let is_new =
                    progress.lock().unwrap_or_else(PoisonError::into_inner).problem.as_ref()
                        != Some(&problem);
                if is_new {
                    tracing::warn!("the index is as it was: {problem}");
                }
                // Some of it may have been read.
                set(&|progress| {
                    progress.problem = Some(problem.clone());
                    progress.changes += 1;
                });
            }
        }
        std::thread::sleep(NEWS);
    }
}

/// Reads what came last.
fn news(store: &Store, index: &Index, seen: &mut HashSet<String>) -> Result<Refreshed, String> {
    let since = Timestamp::now().saturating_sub(BACK).unwrap_or(Timestamp::UNIX_EPOCH);
    let listed = store.news(since).map_err(|error| error.to_string())?;
    let listed: HashSet<String> = listed.into_iter().collect();
    let mut manifests = HashSet::new();
    for name in listed.difference(seen) {
        match store.news_of(name) {
            Ok(manifest) => {
                manifests.insert(manifest);
            }
            // One that is gone was pruned, with what it is about.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // It is news again the next time.
            Err(error) => return Err(error.to_string()),
        }
    }
    let refreshed = match manifests.is_empty() {
        true => Refreshed::default(),
        false => index.refresh_some(store, &manifests).map_err(|error| error.to_string())?,
    };
    *seen = listed;
    Ok(refreshed)
}
