//! Fills the index from the manifests of a store, and keeps it up to date.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use memsample_store::{ErrorKind, Kind, Manifest, ManifestKey, Store, StoreError};
use rusqlite::{OptionalExtension, Transaction, params};

use super::attempts::{Attempt, LargeFiles, attempts};
use super::{Index, IndexError};

/// Runs that are read and written at once.
const BATCH: usize = 200;

/// How far clocks may be apart before one of them is wrong, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 10 * 60 * 1000;

/// What changed in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Runs that are new, or were written anew.
    pub added: u64,
    /// Runs that are no more.
    pub removed: u64,
    /// Manifests that cannot be read, or whose tables cannot.
    pub damaged: u64,
}

/// Why the index is not up to date.
#[derive(Debug)]
pub enum RefreshError {
    /// The store does not answer.
    Store(StoreError),
    /// The index cannot be written.
    Index(IndexError),
}

impl std::fmt::Display for RefreshError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Index(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RefreshError {}

impl From<rusqlite::Error> for RefreshError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(IndexError(format!("the index cannot be written: {error}")))
    }
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Index {
    /// Compares the index with all manifests of the store, and reads those that are new. `done` is called with how many
    /// of how many were read.
    ///
    /// # Errors
    ///
    /// The store does not answer, or the index cannot be written. What was read before is kept.
    pub fn refresh(
        &self,
        store: &Store,
        done: &dyn Fn(usize, usize),
    ) -> Result<Refreshed, RefreshError> {
        let listed = store.manifest_keys()?;
        let mut known = self.known()?;
        let mut fresh = Vec::new();
        for key in listed {
            match known.remove(&key.object) {
                Some(version) if version == key.version => {}
                _ => fresh.push(key),
            }
        }
        let mut refreshed = Refreshed::default();
        self.remove(&known.into_keys().collect::<Vec<_>>(), &mut refreshed)?;
        let all = fresh.len();
        let mut later = None;
        for (index, batch) in fresh.chunks(BATCH).enumerate() {
            later = self.add(store, batch, &mut refreshed)?.or(later);
            done((index * BATCH + batch.len()).min(all), all);
        }
        later.map_or(Ok(refreshed), |error| Err(error.into()))
    }

    /// Brings single manifests up to date, whatever became of them.
    ///
    /// # Errors
    ///
    /// As [`Self::refresh`].
    pub fn refresh_some(
        &self,
        store: &Store,
        names: &HashSet<String>,
    ) -> Result<Refreshed, RefreshError> {
        let mut refreshed = Refreshed::default();
        let (mut fresh, mut gone) = (Vec::new(), Vec::new());
        let known = self.known()?;
        for name in names {
            match store.manifest_key(name)? {
                Some(key) if known.get(name) == Some(&key.version) => {}
                Some(key) => fresh.push(key),
                None if known.contains_key(name) => gone.push(name.clone()),
                None => {}
            }
        }
        self.remove(&gone, &mut refreshed)?;
        let mut later = None;
        for batch in fresh.chunks(BATCH) {
            later = self.add(store, batch, &mut refreshed)?.or(later);
        }
        later.map_or(Ok(refreshed), |error| Err(error.into()))
    }

    /// Returns the versions of all manifests that were read, by their name.
    fn known(&self) -> Result<HashMap<String, String>, RefreshError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT manifest, version FROM run UNION ALL SELECT manifest, version FROM damaged",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .map_err(RefreshError::Index)
    }

    fn remove(&self, manifests: &[String], refreshed: &mut Refreshed) -> Result<(), RefreshError> {
        if manifests.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        for manifest in manifests {
            remove_run(&transaction, manifest)?;
            refreshed.removed += 1;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads some manifests, and returns an error of one that may be read later.
    fn add(
        &self,
        store: &Store,
        keys: &[ManifestKey],
        refreshed: &mut Refreshed,
    ) -> Result<Option<StoreError>, RefreshError> {
        let mut later = None;
        let mut manifests = Vec::with_capacity(keys.len());
        store.read_manifests(keys.to_vec(), |key, manifest| manifests.push((key, manifest)));
        manifests.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut read = Vec::with_capacity(keys.len());
        let mut moved = Vec::new();
        let mut large = LargeFiles::default();
        for (key, manifest) in manifests {
            // One that was removed meanwhile is gone.
            if manifest.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                continue;
            }
            // A run that was compacted is the same run in other files.
            if let Ok(manifest) = &manifest
                && self.is_compacted(&key, manifest)?
            {
                moved.push((key, manifest.bytes()));
                continue;
            }
            let found = manifest.and_then(|it| Ok((attempts(store, &it, &mut large)?, it)));
            match found {
                // One that cannot be read now may be read later, and keeps no other one out.
                Err(error) if error.is_temporary() => later = Some(error),
                found => read.push((key, found)),
            }
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        for (key, bytes) in moved {
            transaction
                .prepare_cached("UPDATE run SET version = ?2, bytes = ?3 WHERE manifest = ?1")?
                .execute(params![key.object, key.version, integer(bytes)])?;
            refreshed.added += 1;
        }
        for (key, found) in read {
            remove_run(&transaction, &key.object)?;
            let twin = match &found {
                Ok((_, manifest)) => other_manifest(&transaction, &manifest.run)?,
                Err(_) => None,
            };
            // One run that is there twice must not keep all others out.
            let found = match (found, twin) {
                (found, None) => found.map_err(|error| error.to_string()),
                (_, Some(other)) => Err(format!("its run is that of `{other}` too")),
            };
            match found {
                Ok((attempts, manifest)) => {
                    insert(&transaction, &key, &manifest, &attempts)?;
                    refreshed.added += 1;
                }
                Err(error) => {
                    transaction
                        .prepare_cached("INSERT INTO damaged VALUES (?1, ?2, ?3)")?
                        .execute(params![key.object, key.version, error])?;
                    refreshed.damaged += 1;
                }
            }
        }
        transaction.commit()?;
        Ok(later)
    }

    /// Returns whether the index has a run already that has been compacted since.
    fn is_compacted(&self, key: &ManifestKey, manifest: &Manifest) -> Result<bool, RefreshError> {
        if !manifest.files.iter().any(|file| file.row_groups.is_some()) {
            return Ok(false);
        }
        let is_known = self.ask(|connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM run WHERE manifest = ?1 AND run = ?2 AND pushed = ?3",
                )?
                .exists(params![key.object, manifest.run, manifest.pushed.to_string()])
        });
        is_known.map_err(RefreshError::Index)
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn remove_run(transaction: &Transaction<'_>, manifest: &str) -> rusqlite::Result<()> {
    mark_stale(transaction, manifest)?;
    let mut attempts = transaction.prepare_cached(
        "DELETE FROM attempt WHERE run = (SELECT id FROM run WHERE manifest = ?1)",
    )?;
    attempts.execute([manifest])?;
    transaction.prepare_cached("DELETE FROM run WHERE manifest = ?1")?.execute([manifest])?;
    transaction.prepare_cached("DELETE FROM damaged WHERE manifest = ?1")?.execute([manifest])?;
    Ok(())
}

/// Returns the manifest that the index has of a run.
fn other_manifest(transaction: &Transaction<'_>, run: &str) -> rusqlite::Result<Option<String>> {
    transaction
        .prepare_cached("SELECT manifest FROM run WHERE run = ?1")?
        .query_row([run], |row| row.get(0))
        .optional()
}

fn insert(
    transaction: &Transaction<'_>,
    key: &ManifestKey,
    manifest: &Manifest,
    attempts: &[Attempt],
) -> rusqlite::Result<()> {
    let (started, told) = began(manifest, key);
    let kind = match manifest.kind {
        Kind::Run => "run",
        Kind::Recording => "recording",
    };
    transaction
        .prepare_cached(
            "INSERT INTO run (run, manifest, version, pushed, kind, name, project, suite, host, release_name, is_release, \
             started_ms, told_started_ms, duration_ns, outcome, tests, passed, commit_id, kernel, cpus, memory_bytes, \
             labels, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
        )?
        .execute(params![
            manifest.run,
            key.object,
            key.version,
            manifest.pushed.to_string(),
            kind,
            manifest.name,
            manifest.project,
            manifest.suite,
            manifest.host,
            // As in a trend: a run without a release is one by itself.
            manifest.release.as_deref().unwrap_or(&manifest.run),
            manifest.release.is_some(),
            started,
            told,
            manifest.duration_ns.map(integer),
            manifest.outcome,
            integer(manifest.counts.values().sum()),
            integer(manifest.counts.get("passed").copied().unwrap_or(0)),
            manifest.commit,
            manifest.kernel,
            manifest.cpus.map(integer),
            manifest.memory_bytes.map(integer),
            serde_json::to_string(&manifest.labels).unwrap_or_default(),
            integer(manifest.bytes()),
        ])?;
    let run = transaction.last_insert_rowid();
    let (project, suite) = (manifest.project.as_str(), manifest.suite.as_str());
    find(transaction, "host", &manifest.host, "", "")?;
    find(transaction, "suite", suite, project, "")?;
    if let Some(release) = &manifest.release {
        find(transaction, "release", release, project, "")?;
    }
    for attempt in attempts {
        let test = test_id(transaction, project, suite, &attempt.test, &attempt.role)?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                test,
                started,
                run,
                attempt.repetition,
                attempt.attempt,
                attempt.outcome,
                attempt.rss_peak_bytes,
                attempt.rss_peak_bytes_upper,
                attempt.pss_peak_bytes,
                attempt.anon_peak_bytes,
                attempt.group_peak_bytes,
                attempt.duration_ns,
                attempt.is_compared,
            ])?;
    }
    mark_stale(transaction, &key.object)
}

/// Returns when a run began, in milliseconds since 1970, and what its machine said of that where it cannot be: nothing
/// begins after it has arrived in the store. Such a run would be the last one for years.
fn began(manifest: &Manifest, key: &ManifestKey) -> (i64, Option<i64>) {
    let told = manifest.started.unwrap_or(manifest.pushed).as_millisecond();
    let written = key.written.as_millisecond();
    match told > written.saturating_add(CLOCKS_DIFFER_MS) {
        true => (written, Some(told)),
        false => (told, None),
    }
}

/// Notes that what was found out of the tests and the release of a run is to be found out anew.
fn mark_stale(transaction: &Transaction<'_>, manifest: &str) -> rusqlite::Result<()> {
    let mut tests = transaction.prepare_cached(
        "INSERT OR IGNORE INTO stale_test SELECT attempt.test FROM attempt JOIN test ON test.id = attempt.test \
         WHERE role = '' AND run = (SELECT id FROM run WHERE manifest = ?1)",
    )?;
    tests.execute([manifest])?;
    let mut releases = transaction.prepare_cached(
        "INSERT OR IGNORE INTO stale_release SELECT project, release_name FROM run \
         WHERE manifest = ?1 AND is_release AND kind = 'run'",
    )?;
    releases.execute([manifest])?;
    Ok(())
}

/// Returns the number of a test or of one of its roles, and gives it one if it is new.
fn test_id(
    transaction: &Transaction<'_>,
    project: &str,
    suite: &str,
    test: &str,
    role: &str,
) -> rusqlite::Result<i64> {
    let known = transaction
        .prepare_cached(
            "SELECT id FROM test WHERE project = ?1 AND suite = ?2 AND test = ?3 AND role = ?4",
        )?
        .query_row([project, suite, test, role], |row| row.get(0));
    match known {
        Err(rusqlite::Error::QueryReturnedNoRows) => {}
        other => return other,
    }
    transaction
        .prepare_cached("INSERT INTO test (project, suite, test, role) VALUES (?1, ?2, ?3, ?4)")?
        .execute([project, suite, test, role])?;
    let id = transaction.last_insert_rowid();
    match role {
        "" => find(transaction, "test", test, project, suite)?,
        role => find(transaction, "role", role, project, suite)?,
    }
    Ok(id)
}

/// Lets a name be found.
fn find(
    transaction: &Transaction<'_>,
    kind: &str,
    text: &str,
    project: &str,
    suite: &str,
) -> rusqlite::Result<()> {
    let added = transaction
        .prepare_cached("INSERT OR IGNORE INTO name VALUES (?1, ?2, ?3, ?4)")?
        .execute([kind, text, project, suite])?;
    if added > 0 {
        transaction
            .prepare_cached(
                "INSERT INTO found (text, kind, project, suite) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute([text, kind, project, suite])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use memsample_store::Address;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_is_there_twice_keeps_no_other_out() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Directory(directory.path().join("lab"));
        let store = Store::open(&address).unwrap();
        for (run, host) in [("twice", "one"), ("twice", "two"), ("once", "one")] {
            let manifest = json!({
                "format": 1, "memsample": "0.1.0", "kind": "recording", "run": run, "name": run, "project": "p",
                "suite": "s", "date": "2026-11-29", "host": host, "recordings": [], "files": [],
                "pushed": "2026-11-29T00:00:00Z",
            });
            let manifest = Manifest::from_json(&serde_json::to_vec(&manifest).unwrap()).unwrap();
            let path = directory.path().join("lab").join(manifest.partition().manifest());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, manifest.to_json()).unwrap();
        }
        let path = directory.path().join("index");
        let index = Index::open(&path, true, &address.to_string()).unwrap();
        let refreshed = index.refresh(&store, &|_, _| {}).unwrap();
        assert_eq!(refreshed, Refreshed { added: 2, removed: 0, damaged: 1 });
        assert!(index.run("once").unwrap().is_some());
        let damaged = index.damaged().unwrap();
        assert!(damaged[0].1.contains("its run is that of `manifests/"), "{damaged:?}");
    }
}
