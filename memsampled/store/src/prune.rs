//! Removes runs from a store: the manifest first, so that nobody finds half a run.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::error::StoreError;
use crate::layout::NEWS;
use crate::lock::{LOCKS, Lock};
use crate::manifest::Manifest;
use crate::store::Store;
use crate::verify::unnamed;

/// Objects that no manifest names stay this long: a push may be about to name them.
const PUSH_SECONDS: i64 = 24 * 3600;

/// What to keep.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Remove runs that are in the store for longer, and whose machines said no later time either.
    pub older_than: Option<SignedDuration>,
    /// Keep all that have a release.
    pub keep_releases: bool,
    /// Remove these runs.
    pub runs: Vec<Manifest>,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The runs.
    pub runs: Vec<Manifest>,
    /// Objects of pushes that did not end.
    pub unnamed: u64,
    /// The bytes of all of it.
    pub bytes: u64,
    /// Manifests that cannot be read. As long as there are any, no unnamed object is removed.
    pub unreadable: u64,
}

/// Removes runs.
///
/// # Errors
///
/// Somebody else changes the store; it refuses or does not answer. What was removed until then is removed.
pub fn prune(store: &Store, prune: &Prune) -> Result<Pruned, StoreError> {
    let lock = if prune.dry_run { None } else { Some(Lock::take(store)?) };
    let check = || lock.as_ref().map_or(Ok(()), Lock::check);
    // By the clock of the store: one that is ahead on this machine would remove everything.
    let now = lock.as_ref().map_or_else(Timestamp::now, |lock| lock.taken);
    let mut pruned = Pruned::default();
    let mut kept: HashSet<String> = HashSet::new();
    let given: HashSet<&str> = prune.runs.iter().map(|manifest| manifest.run.as_str()).collect();
    store.manifests(|key, manifest| {
        let Ok(manifest) = manifest else {
            pruned.unreadable += 1;
            return;
        };
        let since = in_store_since(&manifest, key.written);
        let is_old = prune.older_than.is_some_and(|age| now.duration_since(since) > age);
        let is_kept = prune.keep_releases && manifest.release.is_some();
        if given.contains(manifest.run.as_str()) || (is_old && !is_kept) {
            pruned.runs.push(manifest);
        } else {
            kept.extend(manifest.files.into_iter().map(|file| file.object));
        }
    })?;
    pruned.runs.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
    for manifest in &pruned.runs {
        let own = manifest.files.iter().filter(|file| !kept.contains(&file.object));
        let own: HashSet<&str> = own.map(|file| file.object.as_str()).collect();
        pruned.bytes += manifest.bytes_alone();
        if prune.dry_run {
            continue;
        }
        check()?;
        let partition = manifest.partition();
        store.remove(vec![partition.manifest()])?;
        store.tell_news(&partition);
        store.remove(own.into_iter().map(str::to_owned).collect())?;
    }
    if pruned.unreadable == 0 && prune.runs.is_empty() {
        let named: HashSet<String> = match prune.dry_run {
            true => {
                let of_pruned = pruned.runs.iter().flat_map(|it| &it.files);
                kept.iter().cloned().chain(of_pruned.map(|file| file.object.clone())).collect()
            }
            false => kept,
        };
        let old = unnamed(store, &named)?.into_iter();
        let old = old.filter(|(_, _, modified)| {
            now.as_second().saturating_sub(modified.as_second()) > PUSH_SECONDS
        });
        let old: Vec<(String, u64, Timestamp)> = old.collect();
        pruned.unnamed = old.len() as u64;
        pruned.bytes += old.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        if !prune.dry_run {
            check()?;
            store.remove(old.into_iter().map(|(name, _, _)| name).collect())?;
        }
    }
    if !prune.dry_run {
        for place in [NEWS, LOCKS] {
            forget(store, place, now)?;
        }
    }
    Ok(pruned)
}

/// Returns since when a run is in the store. What the clocks of machines said may be wrong by years in either direction:
/// nothing began or was pushed after it arrived, by the clock of the store, and what arrived lately is not old.
fn in_store_since(manifest: &Manifest, written: Timestamp) -> Timestamp {
    // Its manifest was written anew when it was compacted.
    let is_as_it_arrived = manifest.files.iter().all(|file| file.row_groups.is_none());
    if is_as_it_arrived {
        return written;
    }
    manifest.started.unwrap_or(manifest.pushed).max(manifest.pushed).min(written)
}

/// Removes what is older than whoever looks often looks back, and what a lock that was killed has left.
fn forget(store: &Store, place: &str, now: Timestamp) -> Result<(), StoreError> {
    let all = store.list(place)?;
    let old = all.into_iter().filter(|meta| {
        now.as_second().saturating_sub(meta.last_modified.timestamp()) > PUSH_SECONDS
    });
    store.remove(old.map(|meta| meta.location.to_string()).collect())
}
