//! Puts the small files of many runs of a day into large ones: row groups are copied as they are.
//!
//! Which runs have small files is known from one listing of the table `runs`, of which each run has a file, so that a
//! store of a million runs that are compacted costs a few requests.
//!
//! Who reads by manifests sees each run once at every moment. Who reads by a glob sees the runs of a day twice from
//! when their large file appears until the small ones are gone, which is the last step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use jiff::civil::Date;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::download::verified;
use crate::error::{ErrorKind, StoreError};
use crate::hash::sha256_hex;
use crate::layout::{MANIFESTS, TABLES};
use crate::lock::Lock;
use crate::manifest::{Manifest, RowGroups, StoredFile};
use crate::row_groups::copy_row_groups;
use crate::runs::RUNS;
use crate::store::Store;

/// Files of this size stay as they are.
const LARGE_BYTES: u64 = 64 << 20;
/// A compacted file has at most this many bytes, so that a reader has it in memory.
const MAX_BYTES: u64 = 256 << 20;
/// Runs whose manifests are in memory and whose files are put together.
const AT_ONCE: usize = 1000;
/// The key of the partition of large files.
const MANY: &str = "host=_many";

/// Which days are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// Days before this one, where at least two runs have small files.
    pub before: Date,
    /// Of all other days those where as many runs have small files.
    pub least: usize,
}

impl Days {
    /// Returns all days before another.
    #[must_use]
    pub fn before(before: Date) -> Self {
        Self { before, least: usize::MAX }
    }

    fn has(&self, date: Date, runs: usize) -> bool {
        runs >= if date < self.before { 2 } else { self.least }
    }
}

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

/// Compacts the runs of some days. `done` is called with bytes that are done, and `is_ending` says that no more shall be
/// begun: what is begun is finished or taken back.
///
/// # Errors
///
/// Somebody else changes the store; it refuses or does not answer; a file is not what its manifest says. What was done
/// until then is complete.
pub fn compact(
    store: &Store,
    days: Days,
    done: &dyn Fn(u64),
    is_ending: &dyn Fn() -> bool,
) -> Result<Compacted, StoreError> {
    let mut compacted = Compacted::default();
    // Most times there is nothing to do, which needs no lock.
    if small_runs(store, days)?.is_empty() {
        return Ok(compacted);
    }
    let lock = Lock::take(store)?;
    for (day, runs) in small_runs(store, days)? {
        let mut keys = store.manifest_keys_below(&day)?;
        keys.retain(|key| runs.contains(&key.object));
        for keys in keys.chunks(AT_ONCE).filter(|keys| keys.len() > 1) {
            if is_ending() {
                return Ok(compacted);
            }
            let mut manifests = Vec::with_capacity(keys.len());
            store.read_manifests(keys.to_vec(), |_, manifest| match manifest {
                Ok(manifest) => manifests.push(manifest),
                // One that was removed meanwhile is gone.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(_) => compacted.unreadable += 1,
            });
            manifests.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
            let day = Day {
                store,
                lock: &lock,
                place: format!("{day}/{MANY}"),
                manifests: &mut manifests,
                changed: BTreeSet::new(),
                written: Vec::new(),
                removed: Vec::new(),
                compacted: Compacted::default(),
                done,
                is_ending,
            };
            let more = day.run()?;
            compacted.runs += more.runs;
            compacted.files += more.files;
            compacted.large_files += more.large_files;
            compacted.bytes += more.bytes;
        }
    }
    Ok(compacted)
}

/// Returns the manifests of the runs that have small files, by `project=P/suite=S/date=D`. Some of them may not be there.
fn small_runs(store: &Store, days: Days) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    let place = format!("{TABLES}/{RUNS}");
    let mut small: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for found in store.list(&place)? {
        let keys = found.location.as_ref().strip_prefix(place.as_str());
        let keys: Vec<&str> = keys.unwrap_or_default().split('/').skip(1).collect();
        let &[project, suite, date, host, run, _] = keys.as_slice() else { continue };
        if host == MANY {
            continue;
        }
        let day = format!("{project}/{suite}/{date}");
        let manifest = format!("{MANIFESTS}/{day}/{host}/{run}.json");
        small.entry(day).or_default().insert(manifest);
    }
    small.retain(|day, runs| {
        let date = day.rsplit_once("/date=").and_then(|(_, date)| date.parse().ok());
        date.is_some_and(|date| days.has(date, runs.len()))
    });
    Ok(small)
}

/// Which file of which manifest.
type Place = (usize, usize);

/// The runs of one suite on one day, while they are compacted.
struct Day<'a> {
    store: &'a Store,
    lock: &'a Lock,
    /// The partition of the large files, but for their name.
    place: String,
    manifests: &'a mut [Manifest],
    /// Manifests that are to be written anew.
    changed: BTreeSet<usize>,
    /// Large files.
    written: Vec<String>,
    /// Objects that nobody needs when the manifests are written.
    removed: Vec<String>,
    compacted: Compacted,
    done: &'a dyn Fn(u64),
    is_ending: &'a dyn Fn() -> bool,
}

/// Files with the same columns.
#[derive(Default)]
struct Group {
    inputs: Vec<(Bytes, Range<usize>)>,
    places: Vec<(Place, RowGroups)>,
    groups: u64,
}

impl Day<'_> {
    fn run(mut self) -> Result<Compacted, StoreError> {
        for (table, files) in self.small_files() {
            for files in self.batches(files) {
                if (self.is_ending)() {
                    // No manifest names them, and a glob would find their rows twice.
                    self.store.remove(self.written)?;
                    return Ok(Compacted::default());
                }
                self.merge(&table, &files)?;
            }
        }
        for manifest in self.changed.iter().filter_map(|index| self.manifests.get(*index)) {
            self.lock.check()?;
            let partition = manifest.partition();
            self.store.write(&partition.manifest(), manifest.to_json(), false)?;
            self.store.tell_news(&partition);
            self.compacted.runs += 1;
        }
        // Only now does nobody need them.
        self.lock.check()?;
        self.store.remove(self.removed)?;
        Ok(self.compacted)
    }

    /// Returns the small files of each table.
    fn small_files(&self) -> BTreeMap<String, Vec<Place>> {
        let mut tables: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (run, manifest) in self.manifests.iter().enumerate() {
            for (file, stored) in manifest.files.iter().enumerate() {
                let Some(table) = &stored.table else { continue };
                if stored.row_groups.is_none() && stored.bytes < LARGE_BYTES {
                    tables.entry(table.clone()).or_default().push((run, file));
                }
            }
        }
        tables
    }

    fn stored(&self, (run, file): Place) -> Option<&StoredFile> {
        self.manifests.get(run)?.files.get(file)
    }

    /// Divides files into batches that are read at once.
    fn batches(&self, files: Vec<Place>) -> Vec<Vec<Place>> {
        let mut batches: Vec<Vec<Place>> = Vec::new();
        let mut bytes = u64::MAX;
        for file in files {
            let size = self.stored(file).map_or(0, |file| file.bytes);
            bytes = bytes.saturating_add(size);
            match batches.last_mut() {
                Some(batch) if bytes <= MAX_BYTES => batch.push(file),
                _ => {
                    batches.push(vec![file]);
                    bytes = size;
                }
            }
        }
        batches
    }

    /// Puts some files of one table together, as far as they have the same columns.
    fn merge(&mut self, table: &str, files: &[Place]) -> Result<(), StoreError> {
        if files.len() < 2 {
            return Ok(());
        }
        let damaged = |error: ParquetError| {
            let what = format!("a file of the table `{table}` is damaged");
            StoreError::because(ErrorKind::Damaged, what, error)
        };
        let mut by_columns: BTreeMap<String, Group> = BTreeMap::new();
        for &place in files {
            let Some(file) = self.stored(place) else { continue };
            let bytes = verified(self.store, file)?;
            (self.done)(file.bytes);
            let reader = SerializedFileReader::new(bytes.clone()).map_err(damaged)?;
            let metadata = reader.metadata();
            let columns = format!("{:?}", metadata.file_metadata().schema());
            let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
            let key_values = pairs.map(|it| (it.key.clone(), it.value.clone())).collect();
            let count = metadata.num_row_groups();
            let group = by_columns.entry(columns).or_default();
            let row_groups = RowGroups {
                first: group.groups,
                count: count as u64,
                bytes: file.bytes,
                key_values,
            };
            group.groups += count as u64;
            group.inputs.push((bytes, 0..count));
            group.places.push((place, row_groups));
        }
        for group in by_columns.into_values().filter(|group| group.places.len() > 1) {
            let mut merged = Vec::new();
            copy_row_groups(&mut merged, &group.inputs, None).map_err(damaged)?;
            self.replace(table, merged, group.places)?;
        }
        Ok(())
    }

    /// Writes a large file, and lets manifests name it in place of their own.
    fn replace(
        &mut self,
        table: &str,
        merged: Vec<u8>,
        places: Vec<(Place, RowGroups)>,
    ) -> Result<(), StoreError> {
        let place = &self.place;
        let object =
            format!("{TABLES}/{table}/{place}/run=_{}/{table}.parquet", uuid::Uuid::now_v7());
        let (bytes, sha256) = (merged.len() as u64, sha256_hex(&merged));
        self.store.write(&object, merged, true)?;
        self.written.push(object.clone());
        self.compacted.large_files += 1;
        self.compacted.bytes += bytes;
        for ((run, file), row_groups) in places {
            let manifest = self.manifests.get_mut(run);
            let Some(file) = manifest.and_then(|it| it.files.get_mut(file)) else { continue };
            self.removed.push(std::mem::replace(&mut file.object, object.clone()));
            (file.bytes, file.sha256) = (bytes, sha256.clone());
            file.row_groups = Some(row_groups);
            self.changed.insert(run);
            self.compacted.files += 1;
        }
        Ok(())
    }
}
