//! Compares a store with its manifests.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::download::read_pieces;
use crate::error::{ErrorKind, StoreError};
use crate::layout::{FILES, TABLES};
use crate::manifest::Manifest;
use crate::store::Store;

/// What is not as a manifest says.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The run, or the manifest where that cannot be read.
    pub run: String,
    /// What is wrong.
    pub what: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Runs of which everything was compared.
    pub runs: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Objects that no manifest names: of a push that goes on, or that did not end; with the time of each.
    pub unnamed: Vec<(String, u64, Timestamp)>,
}

/// Compares everything in a store, or one run, with the manifests. `read` is called with bytes that are done.
///
/// # Errors
///
/// The store cannot be listed, or stops answering. What is wrong in it is no error.
pub fn verify(
    store: &Store,
    only: Option<&Manifest>,
    read: &dyn Fn(u64),
) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let mut manifests = Vec::new();
    match only {
        Some(manifest) => manifests.push(manifest.clone()),
        None => store.manifests(|key, manifest| match manifest {
            Ok(manifest) => manifests.push(manifest),
            Err(error) => {
                let source = std::error::Error::source(&error)
                    .map(|it| format!(": {it}"))
                    .unwrap_or_default();
                verified.faults.push(Fault { run: key.object, what: format!("{error}{source}") });
            }
        })?,
    }
    manifests.sort_by(|a, b| a.run.cmp(&b.run));
    let mut seen: HashSet<String> = HashSet::new();
    for manifest in &manifests {
        for file in &manifest.files {
            // A compacted file is of many runs, and read once.
            if !seen.insert(file.object.clone()) || file.bytes == 0 {
                continue;
            }
            match read_pieces(store, file, |piece| {
                read(piece.len() as u64);
                Ok(())
            }) {
                Ok(()) => {
                    verified.objects += 1;
                    verified.bytes += file.bytes;
                }
                Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                    let what = match error.kind() {
                        ErrorKind::NotFound => format!("`{}` is missing", file.object),
                        _ => error.to_string(),
                    };
                    verified.faults.push(Fault { run: manifest.run.clone(), what });
                }
                Err(error) => return Err(error),
            }
        }
        verified.runs += 1;
    }
    if only.is_none() {
        verified.unnamed = unnamed(store, &seen)?;
    }
    Ok(verified)
}

/// Lists the objects that no manifest names.
pub(crate) fn unnamed(
    store: &Store,
    named: &HashSet<String>,
) -> Result<Vec<(String, u64, Timestamp)>, StoreError> {
    let mut unnamed = Vec::new();
    for below in [TABLES, FILES] {
        for meta in store.list(below)? {
            let name = meta.location.to_string();
            if !named.contains(&name) {
                let modified = Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
                unnamed.push((name, meta.size, modified.unwrap_or(Timestamp::UNIX_EPOCH)));
            }
        }
    }
    Ok(unnamed)
}
