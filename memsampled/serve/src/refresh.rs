//! Keeps the index up to date: what came last each second, everything each minute.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use memsample_store::layout::RELEASES;
use memsample_store::{ErrorKind, Store};
use serde::Serialize;

use crate::index::{Index, RefreshError, Refreshed};
use crate::notices;

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

    /// Notes that somebody else changed the index.
    pub fn changed(&self) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).changes += 1;
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
        let mut is_examined = true;
        let is_all = last_all.is_none_or(|last| last.elapsed() >= ALL);
        let refreshed = match is_all {
            true => all(store, index, &|done, all| {
                set(&|progress| progress.reading = Some((done, all)));
            }),
            false => news(store, index, &mut seen),
        };
        match refreshed {
            Ok((refreshed, steps)) => {
                let is_changed = refreshed != Refreshed::default() || steps > 0;
                if refreshed != Refreshed::default() {
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
                // What got worse is found out later than the runs are shown, since it takes longer.
                match find_notices(index, ending) {
                    Ok((is_changed, is_done)) => {
                        is_examined = is_done;
                        if is_changed {
                            set(&|progress| progress.changes += 1);
                        }
                    }
                    Err(error) => tracing::warn!("what got worse is not known: {error}"),
                }
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
        // Who examines many tests has let as long go by.
        if is_examined {
            std::thread::sleep(NEWS);
        }
    }
}

/// Finds out what got worse until it is time to look for news. Returns whether that is another thing than before, and
/// whether all is examined.
fn find_notices(index: &Index, ending: &AtomicBool) -> Result<(bool, bool), RefreshError> {
    let begun = Instant::now();
    let mut is_changed = false;
    while !ending.load(Ordering::Relaxed) && begun.elapsed() < NEWS {
        match notices::find(index)? {
            Some(changed) => is_changed |= changed,
            None => {
                index.set_filled()?;
                return Ok((is_changed, true));
            }
        }
    }
    Ok((is_changed, false))
}

/// Compares everything with the store, and returns what changed of runs, and how many steps of releases.
fn all(
    store: &Store,
    index: &Index,
    done: &dyn Fn(usize, usize),
) -> Result<(Refreshed, u64), String> {
    let steps = index.refresh_releases(store).map_err(|error| error.to_string())?;
    let refreshed = index.refresh(store, done).map_err(|error| error.to_string())?;
    Ok((refreshed, steps))
}

/// Reads what came last.
fn news(
    store: &Store,
    index: &Index,
    seen: &mut HashSet<String>,
) -> Result<(Refreshed, u64), String> {
    let since = Timestamp::now().saturating_sub(BACK).unwrap_or(Timestamp::UNIX_EPOCH);
    let listed = store.news(since).map_err(|error| error.to_string())?;
    let listed: HashSet<String> = listed.into_iter().collect();
    let mut manifests = HashSet::new();
    let mut has_steps = false;
    for name in listed.difference(seen) {
        match store.news_of(name) {
            Ok(object) if object.starts_with(RELEASES) => has_steps = true,
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
    let steps = match has_steps {
        true => index.refresh_releases(store).map_err(|error| error.to_string())?,
        false => 0,
    };
    *seen = listed;
    Ok((refreshed, steps))
}
