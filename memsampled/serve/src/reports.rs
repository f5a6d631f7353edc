//! The report of a run, made when it is asked for and kept for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use memsample_compare::Run;
use memsample_report::{Report, Source, html};
use memsample_runner::results::{FILE, Results};
use memsample_store::download::verified;
use memsample_store::pull::pull;
use memsample_store::{ErrorKind, Manifest, RunDirectory, Store, StoreError};

/// Reports that are kept.
const MAX_KEPT: usize = 32;
/// The largest run whose report is made: it has to be brought here.
const MAX_BYTES: u64 = 2 << 30;

/// Makes reports, one at a time.
#[derive(Default)]
pub struct Reports {
    /// The last ones that were asked for, by the hash of what they are of.
    kept: Mutex<VecDeque<(String, Arc<str>)>>,
    making: Mutex<()>,
}

impl Reports {
    /// Returns the report of a run as one page of HTML.
    ///
    /// # Errors
    ///
    /// The store does not answer, what it has is damaged, or the run is too large.
    pub fn html(
        &self,
        store: &Store,
        manifest_name: &str,
        version: &str,
    ) -> Result<Arc<str>, StoreError> {
        self.kept_or_made(format!("{manifest_name} {version}"), || {
            let manifest = store.manifest(manifest_name)?;
            match store.directory_of(manifest_name)? {
                Some(directory) => of_directory(&manifest, &directory),
                None => brought(store, &manifest),
            }
        })
    }

    /// Returns what is kept under a key, or makes it, one thing at a time.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn kept_or_made<E>(
        &self,
        key: String,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        if let Some(kept) = self.kept(&key) {
            return Ok(kept);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have asked for the same.
        if let Some(kept) = self.kept(&key) {
            return Ok(kept);
        }
        let made: Arc<str> = make()?.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key, Arc::clone(&made)));
        while kept.len() > MAX_KEPT {
            kept.pop_front();
        }
        Ok(made)
    }

    fn kept(&self, key: &str) -> Option<Arc<str>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(of, _)| of == key).map(|(_, html)| Arc::clone(html))
    }
}

/// Makes the report of a run that is brought here first.
fn brought(store: &Store, manifest: &Manifest) -> Result<String, StoreError> {
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    if bytes > MAX_BYTES {
        let what = format!(
            "the run has {bytes} bytes, of which a report is made up to {MAX_BYTES}: `memsample pull` it"
        );
        return Err(StoreError::new(ErrorKind::TooLarge, what));
    }
    let work =
        tempfile::tempdir().map_err(|error| failed("there is no room for a report", &error))?;
    let directory = work.path().join("run");
    pull(store, manifest, &directory, &|_| ())?;
    of_directory(manifest, &RunDirectory::open(&directory)?)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::new(ErrorKind::Local, format!("{what}: {error}"))
}

/// Makes the report of a run in a directory, and changes nothing in it.
fn of_directory(manifest: &Manifest, directory: &RunDirectory) -> Result<String, StoreError> {
    let results = directory.results()?;
    let mut notes = Vec::new();
    let mut recordings = Vec::new();
    for recording in &manifest.recordings {
        let name = match recording.path.as_str() {
            "" => manifest.name.clone(),
            path => path.to_owned(),
        };
        match directory.recording(&recording.path) {
            Ok(recording) => recordings.push((name, recording)),
            Err(why) => notes.push(format!("the memory over time is missing: {why}")),
        }
    }
    if recordings.is_empty() && notes.is_empty() {
        notes.push("the run has no recording, so that the memory over time is missing".to_owned());
    }
    let source = Source { name: manifest.name.clone(), results, recordings, notes };
    let report =
        Report::new(source).map_err(|error| failed("the recording cannot be read", &error))?;
    Ok(html::html(&report))
}

/// Reads the results of a run.
///
/// # Errors
///
/// The store does not answer, or what it has is damaged.
pub fn results(store: &Store, manifest: &Manifest) -> Result<Option<Run>, StoreError> {
    let Some(file) = manifest.files.iter().find(|file| file.path.as_deref() == Some(FILE)) else {
        return Ok(None);
    };
    let bytes = verified(store, file)?;
    let damaged = |why: &str| {
        let what = format!("the results of `{}` are damaged: {why}", manifest.run);
        StoreError::new(ErrorKind::Damaged, what)
    };
    let results = Results::from_json(&bytes).map_err(|error| damaged(&error.to_string()))?;
    Ok(Some(Run { name: manifest.run.clone(), results }))
}
