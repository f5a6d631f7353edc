//! Two releases compared, with the numbers of `memsample compare`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use memsample::Recording;
use memsample_compare::{CompareError, Comparison, Options, Run, compare};
use memsample_input::{rounded_size, with_causes};
use memsample_report::SideBySide;
use memsample_runner::results::FILE;
use memsample_store::pull::pull;
use memsample_store::{ErrorKind, Manifest, RunDirectory, Store, StoreError, StoredFile};

use crate::index::{Index, IndexError, RunFilter};
use crate::reports::results;

/// Runs of a side that are read, at most.
const MAX_RUNS: u32 = 200;
/// Bytes of recordings that are brought here for one comparison.
const MAX_BYTES: u64 = 512 << 20;

/// Why two releases are not compared.
pub enum CompareProblem {
    /// The index cannot be read.
    Index(IndexError),
    /// The store does not answer, or what it has is damaged.
    Store(StoreError),
    /// A side has no runs.
    None(String),
    /// They cannot be compared, and why.
    Refused(String),
}

/// Two releases, and the runs that were compared.
pub struct Releases {
    /// What is said of them.
    pub comparison: Comparison,
    base: Vec<Run>,
    head: Vec<Run>,
    /// By the name of a run: the object of its manifest, and that.
    manifests: HashMap<String, (String, Manifest)>,
}

/// Compares all runs of two releases of a project.
///
/// # Errors
///
/// See [`CompareProblem`].
pub fn compared(
    store: &Store,
    index: &Index,
    project: &str,
    base: &str,
    head: &str,
) -> Result<Releases, CompareProblem> {
    let mut manifests = HashMap::new();
    let mut side = |release: &str| {
        let filter = RunFilter {
            project: Some(project.to_owned()),
            release: Some(release.to_owned()),
            ..RunFilter::default()
        };
        let rows = index.runs(&filter, MAX_RUNS, 0).map_err(CompareProblem::Index)?;
        let mut runs: Vec<Run> = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let manifest = store.manifest(&row.manifest).map_err(CompareProblem::Store)?;
            runs.extend(results(store, &manifest).map_err(CompareProblem::Store)?);
            manifests.insert(manifest.run.clone(), (row.manifest.clone(), manifest));
        }
        match (runs.is_empty(), rows.len()) {
            (false, _) => Ok(runs),
            (true, 0) => Err(CompareProblem::None(format!(
                "No run of `{project}` is of the release `{release}`."
            ))),
            // They are recordings, or were pruned to what lists show.
            (true, count) => Err(CompareProblem::None(format!(
                "There is nothing to compare in the release `{release}`: 0 of its {count} runs have a `{FILE}`."
            ))),
        }
    };
    let (base, head) = (side(base)?, side(head)?);
    let options = Options { allowed: BTreeSet::new(), ..Options::default() };
    let comparison = compare(&base, &head, &options)
        .map_err(|error: CompareError| CompareProblem::Refused(error.to_string()))?;
    Ok(Releases { comparison, base, head, manifests })
}

impl Releases {
    /// Reads the memory over time of both sides, as far as there are recordings: they are brought here where they are
    /// not, up to 512 MiB.
    ///
    /// # Errors
    ///
    /// There is no room for recordings on this machine.
    pub fn side_by_side(self, store: &Store) -> Result<SideBySide, CompareProblem> {
        let work = tempfile::tempdir().map_err(|error| {
            let what = format!("there is no room for recordings: {error}");
            CompareProblem::Store(StoreError::new(ErrorKind::Local, what))
        })?;
        let Self { comparison, base, head, manifests } = self;
        let mut missing = BTreeSet::new();
        let mut left = MAX_BYTES;
        let mut count = 0;
        let open = |run: &Run, name: &str| {
            let (object, manifest) = manifests.get(&run.name)?;
            // What was removed to save room is no fault.
            if !manifest.recordings.iter().any(|it| it.path == name) {
                return None;
            }
            let opened = match store.directory_of(object) {
                Err(error) => Err(with_causes(&error)),
                Ok(Some(directory)) => directory.recording(name),
                Ok(None) => {
                    count += 1;
                    brought(store, manifest, name, &work.path().join(count.to_string()), &mut left)
                }
            };
            opened
                .map_err(|why| missing.insert(format!("memory over time of `{}`: {why}", run.name)))
                .ok()
        };
        let mut sides = SideBySide::new(comparison, &base, &head, open);
        sides.notes.extend(missing);
        Ok(sides)
    }
}

/// Brings a recording of a run here, and opens it.
fn brought(
    store: &Store,
    manifest: &Manifest,
    name: &str,
    place: &Path,
    left: &mut u64,
) -> Result<Recording, String> {
    let mut part = manifest.clone();
    let is_of_recording = |file: &StoredFile| {
        let path = file.path.as_deref().and_then(|it| it.strip_prefix(name));
        path.is_some_and(|rest| rest.starts_with('/'))
    };
    part.files.retain(is_of_recording);
    let bytes: u64 = part.files.iter().map(|file| file.bytes).sum();
    *left = left.checked_sub(bytes).ok_or_else(|| {
        format!(
            "the recordings of a comparison are read up to {}: `memsample pull` the runs and compare them",
            rounded_size(MAX_BYTES)
        )
    })?;
    pull(store, &part, place, &|_| ()).map_err(|error| with_causes(&error))?;
    RunDirectory::open(place).map_err(|error| with_causes(&error))?.recording(name)
}
