//! Puts the small files of many runs of a day into large ones: row groups are copied as they are.
//!
//! Who reads by manifests sees each run once at every moment. Who reads by a glob sees the runs of a day twice from
//! when their large file appears until the small ones are gone, which is the last step.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use jiff::civil::Date;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::download::verified;
use crate::error::{ErrorKind, StoreError};
use crate::hash::sha256_hex;
use crate::layout::{TABLES, escaped};
use crate::lock::Lock;
use crate::manifest::{Manifest, RowGroups, StoredFile};
use crate::row_groups::copy_row_groups;
use crate::store::Store;

/// Files of this size stay as they are.
const LARGE_BYTES: u64 = 64 << 20;
/// A compacted file has at most this many bytes, so that a reader has it in memory.
const MAX_BYTES: u64 = 256 << 20;
/// What was compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Runs whose manifests were written anew.
    pub runs: u64,
    /// Files that are in larger ones now.
    pub files: u64,
    /// Larger files that were written.
    pub large_files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Runs that were left as they are, since their manifest cannot be read.
    pub unreadable: u64,
}

/// Compacts the runs of all days before `before`. `done` is called with bytes that are done.
///
/// # Errors
///
/// Somebody else changes the store; it refuses or does not answer; a file is not what its manifest says. What was done
/// until then is complete.
pub fn compact(store: &Store, before: Date, done: &dyn Fn(u64)) -> Result<Compacted, StoreError> {
    let _lock = Lock::take(store)?;
    let mut compacted = Compacted::default();
    let mut days: BTreeMap<(String, String, Date), Vec<Manifest>> = BTreeMap::new();
    store.manifests(|_, manifest| match manifest {
        Ok(manifest) if manifest.date < before => {
            let day = (manifest.project.clone(), manifest.suite.clone(), manifest.date);
            days.entry(day).or_default().push(manifest);
        }
        Ok(_) => {}
        Err(_) => compacted.unreadable += 1,
    })?;
    for ((project, suite, date), mut manifests) in days {
        manifests.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
        let place = format!(
            "project={}/suite={}/date={date}/host=_many",
            escaped(project.as_bytes()),
            escaped(suite.as_bytes())
        );
        day(store, &place, &mut manifests, &mut compacted, done)?;
    }
    Ok(compacted)
}

/// Which file of which manifest.
type Place = (usize, usize);

/// Compacts the runs of one suite on one day.
fn day(
    store: &Store,
    place: &str,
    manifests: &mut [Manifest],
    compacted: &mut Compacted,
    done: &dyn Fn(u64),
) -> Result<(), StoreError> {
    let mut tables: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (run, manifest) in manifests.iter().enumerate() {
        for (file, stored) in manifest.files.iter().enumerate() {
            let Some(table) = &stored.table else { continue };
            if stored.row_groups.is_none() && stored.bytes < LARGE_BYTES {
                tables.entry(table.clone()).or_default().push((run, file));
            }
        }
    }
    let mut removed: Vec<String> = Vec::new();
    let mut changed: Vec<bool> = vec![false; manifests.len()];
    for (table, places) in tables {
        let mut batch: Vec<Place> = Vec::new();
        let mut bytes = 0;
        for place_of in places {
            let size = stored(manifests, place_of).map_or(0, |file| file.bytes);
            if bytes + size > MAX_BYTES {
                merge(
                    store,
                    place,
                    &table,
                    manifests,
                    &batch,
                    (&mut removed, &mut changed),
                    compacted,
                    done,
                )?;
                (batch, bytes) = (Vec::new(), 0);
            }
            batch.push(place_of);
            bytes += size;
        }
        merge(
            store,
            place,
            &table,
            manifests,
            &batch,
            (&mut removed, &mut changed),
            compacted,
            done,
        )?;
    }
    for (manifest, _) in manifests.iter().zip(&changed).filter(|(_, changed)| **changed) {
        let partition = manifest.partition();
        store.write(&partition.manifest(), manifest.to_json(), false)?;
        store.tell_news(&partition);
        compacted.runs += 1;
    }
    // Only now does nobody need them.
    store.remove(removed)
}

fn stored(manifests: &[Manifest], (run, file): Place) -> Option<&StoredFile> {
    manifests.get(run)?.files.get(file)
}

/// Puts some files of one table together, as far as they have the same columns.
#[expect(clippy::too_many_arguments, reason = "what is changed belongs to the day")]
fn merge(
    store: &Store,
    place: &str,
    table: &str,
    manifests: &mut [Manifest],
    files: &[Place],
    (removed, changed): (&mut Vec<String>, &mut Vec<bool>),
    compacted: &mut Compacted,
    done: &dyn Fn(u64),
) -> Result<(), StoreError> {
    /// The files with the same columns.
    #[derive(Default)]
    struct Group {
        inputs: Vec<(Bytes, Range<usize>)>,
        places: Vec<(Place, RowGroups)>,
        groups: u64,
    }
    if files.len() < 2 {
        return Ok(());
    }
    let damaged = |error: ParquetError| {
        StoreError::because(
            ErrorKind::Damaged,
            format!("a file of the table `{table}` is damaged"),
            error,
        )
    };
    let mut by_columns: BTreeMap<String, Group> = BTreeMap::new();
    for &place_of in files {
        let Some(file) = stored(manifests, place_of) else { continue };
        let bytes = verified(store, file)?;
        done(file.bytes);
        let reader = SerializedFileReader::new(bytes.clone()).map_err(damaged)?;
        let metadata = reader.metadata();
        let columns = format!("{:?}", metadata.file_metadata().schema());
        let pairs = metadata.file_metadata().key_value_metadata();
        let key_values =
            pairs.into_iter().flatten().map(|it| (it.key.clone(), it.value.clone())).collect();
        let count = metadata.num_row_groups();
        let group = by_columns.entry(columns).or_default();
        let row_groups = RowGroups { first: group.groups, count: count as u64, key_values };
        group.groups += count as u64;
        group.inputs.push((bytes, 0..count));
        group.places.push((place_of, row_groups));
    }
    for group in by_columns.into_values().filter(|group| group.places.len() > 1) {
        let mut merged = Vec::new();
        copy_row_groups(&mut merged, &group.inputs, None).map_err(damaged)?;
        let object =
            format!("{TABLES}/{table}/{place}/run=_{}/{table}.parquet", uuid::Uuid::now_v7());
        let (bytes, sha256) = (merged.len() as u64, sha256_hex(&merged));
        store.write(&object, merged, true)?;
        compacted.large_files += 1;
        compacted.bytes += bytes;
        for ((run, file), row_groups) in group.places {
            let Some(file) = manifests.get_mut(run).and_then(|it| it.files.get_mut(file)) else {
                continue;
            };
            removed.push(std::mem::replace(&mut file.object, object.clone()));
            (file.bytes, file.sha256) = (bytes, sha256.clone());
            file.row_groups = Some(row_groups);
            if let Some(changed) = changed.get_mut(run) {
                *changed = true;
            }
            compacted.files += 1;
        }
    }
    Ok(())
}
