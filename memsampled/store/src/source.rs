//! What is to be pushed: a run or a recording on this machine, its files, and what it is.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use memsample::schema::tables;
use memsample::{Manifest as RecordingManifest, OpenError, Recording, RecordingState, Recovery};
use memsample_runner::results::{FILE, Results};
use memsample_runner::run::PROGRESS_FILE;

use crate::error::{ErrorKind, StoreError};
use crate::hash::{Hash, sha256_hex};
use crate::layout::{FILES, TABLES, object_path, path_text};
use crate::manifest::{FORMAT_VERSION, Kind, Manifest, RecordingOf, StoredFile};
use crate::tree::Tree;

/// The label that names the release of a run.
const RELEASE: &str = "release";
/// The label that names what is tested.
const PROJECT: &str = "project";
/// The suite of what is of none.
pub const NO_SUITE: &str = "_none";

/// What is said of a run when it is pushed.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// What is tested, in place of the label `project`.
    pub project: Option<String>,
    /// The release, in place of the label `release`.
    pub release: Option<String>,
}

/// A file on this machine, and where it goes.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Its path in the directory.
    pub path: PathBuf,
    /// What the manifest will say of it.
    pub stored: StoredFile,
}

/// What is to be pushed.
#[derive(Clone, Debug)]
pub struct RunSource {
    /// The directory.
    pub directory: PathBuf,
    /// The same, held open.
    pub(crate) tree: Tree,
    /// What it is. Its files are those of this source.
    pub manifest: Manifest,
    /// Its files, with their hashes.
    pub files: Vec<LocalFile>,
    /// What is in the directory and is not pushed: links, sockets, pipes, and what cannot be read.
    pub left_out: Vec<String>,
}

impl RunSource {
    /// Reads a directory of a run or a recording, and hashes its files. `hashed` is called with the bytes as they
    /// are read.
    ///
    /// # Errors
    ///
    /// It is none, has not ended, is damaged or of a later format, or cannot be read.
    pub fn read(
        directory: &Path,
        options: &SourceOptions,
        hashed: &dyn Fn(u64),
    ) -> Result<Self, StoreError> {
        let tree = Tree::open(directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::new(
                ErrorKind::NotFound,
                format!("`{}` is neither a run nor a recording", directory.display()),
            ),
            _ => StoreError::local(format!("cannot read `{}`", directory.display()), error),
        })?;
        let mut manifest = if directory.join(FILE).is_file() {
            of_run(&tree, directory, options, |relative| closed(&directory.join(relative)))?
        } else if directory.join(Recording::FILE).is_file() {
            of_recording(directory, options, closed(directory)?)
        } else if directory.join(PROGRESS_FILE).is_file() {
            return Err(StoreError::new(
                ErrorKind::Unfinished,
                format!(
                    "the run `{}` has no {FILE}, since it has not ended: `memsample run --resume` continues one that was killed",
                    directory.display()
                ),
            ));
        } else {
            return Err(StoreError::new(
                ErrorKind::NotFound,
                format!("`{}` is neither a run nor a recording", directory.display()),
            ));
        };
        let (files, left_out) = files(&tree, directory, &manifest, hashed)?;
        manifest.files = files.iter().map(|file| file.stored.clone()).collect();
        Ok(Self { directory: directory.to_owned(), tree, manifest, files, left_out })
    }
}

/// Returns what a directory of a run or a recording is, without its files, and changes nothing in it: the recordings of
/// a run may not be closed. `directory` is where a person knows what `tree` holds.
///
/// # Errors
///
/// It is none, has not ended, is damaged or of a later format, or cannot be read.
pub(crate) fn read_only(tree: &Tree, directory: &Path) -> Result<Manifest, StoreError> {
    let options = SourceOptions::default();
    let manifest_of = |relative: &Path| {
        let path = directory.join(relative);
        let held = tree.directory(relative).map_err(|error| no_directory(&path, error))?;
        Recording::manifest_in(&held, &path).map_err(|it| unreadable(&path, it))
    };
    match tree.file(Path::new(FILE)) {
        Ok(_) => of_run(tree, directory, &options, manifest_of),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let manifest = manifest_of(Path::new(""))?;
            if manifest.state == RecordingState::Recording {
                let what = format!(
                    "the recording `{0}` was not closed: `memsample recover {0}` completes it",
                    directory.display()
                );
                return Err(StoreError::new(ErrorKind::Unfinished, what));
            }
            Ok(of_recording(directory, &options, manifest))
        }
        Err(error) => Err(no_results(directory, error)),
    }
}

/// Who owns a run may lead out of it.
fn no_directory(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotADirectory => {
            let what = format!("`{}` is no directory: links are not followed", path.display());
            StoreError::new(ErrorKind::Damaged, what)
        }
        _ => StoreError::local(format!("cannot read `{}`", path.display()), error),
    }
}

fn no_results(directory: &Path, error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    let what = format!("cannot read `{}`", directory.display());
    StoreError::because(ErrorKind::Damaged, what, error)
}

fn name_of(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let name = absolute.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A name and the end of an id, which no other run has.
fn run_of(name: &str, id: &str) -> String {
    let end = id.len().saturating_sub(12);
    format!("{name}-{}", id.get(end..).unwrap_or(id))
}

/// Opens a recording that is whole, or is made so, and returns what it says of itself.
fn closed(directory: &Path) -> Result<RecordingManifest, StoreError> {
    let path = directory.display();
    let unfinished =
        |why: &str| StoreError::new(ErrorKind::Unfinished, format!("the recording `{path}` {why}"));
    match Recording::open(directory) {
        Ok((_, Recovery::StillRecording)) => {
            Err(unfinished("is still being written: stop it first"))
        }
        Ok((_, Recovery::InCopy { owner })) => Err(unfinished(&format!(
            "was not closed, and belongs to user {owner}, who can complete it with `memsample recover`"
        ))),
        Ok((recording, _)) => Ok(recording.manifest().clone()),
        Err(error) => Err(unreadable(directory, error)),
    }
}

fn unreadable(directory: &Path, error: OpenError) -> StoreError {
    let kind = match error {
        OpenError::Io(..) | OpenError::Recover(..) => ErrorKind::Local,
        _ => ErrorKind::Damaged,
    };
    StoreError::because(kind, format!("cannot read `{}`", directory.display()), error)
}

fn of_run(
    tree: &Tree,
    directory: &Path,
    options: &SourceOptions,
    recording_of: impl Fn(&Path) -> Result<RecordingManifest, StoreError>,
) -> Result<Manifest, StoreError> {
    let path = directory.join(FILE);
    let file = tree.file(Path::new(FILE)).map_err(|error| no_results(directory, error))?;
    let modified = modified(&file);
    let results = Results::read_file(file).map_err(|error| no_results(directory, error))?;
    let mut recordings = Vec::new();
    let mut hostname = None;
    for relative in &results.origin.recordings {
        let Some(text) = path_text(Path::new(relative)) else {
            let what = format!(
                "`{}` names a recording outside it: `{}`",
                path.display(),
                relative.escape_debug()
            );
            return Err(StoreError::new(ErrorKind::Damaged, what));
        };
        // A recording may have been removed to save room; what became of the tests is there all the same.
        let relative = Path::new(relative);
        let there = tree.file(&relative.join(Recording::FILE));
        if there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        let recording = recording_of(relative)?;
        let provenance = &recording.provenance;
        hostname.get_or_insert_with(|| provenance.machine.hostname.clone());
        recordings.push(RecordingOf { path: text, id: provenance.id.clone() });
    }
    let name = name_of(directory);
    let id = match recordings.first() {
        Some(first) => first.id.clone(),
        None => sha256_hex(&results.to_json().unwrap_or_default()),
    };
    let origin = results.origin;
    let started = results.started;
    Ok(Manifest {
        run: run_of(&name, &id),
        name,
        kind: Kind::Run,
        suite: results.suite,
        host: origin.host.or(hostname).unwrap_or_else(|| "unknown".to_owned()),
        date: date(started.unwrap_or(modified)),
        outcome: Some(results.outcome.word().to_owned()),
        counts: results
            .counts
            .iter()
            .map(|(verdict, count)| (verdict.word().to_owned(), *count))
            .collect(),
        duration_ns: Some(results.duration_ns),
        started,
        recordings,
        commit: origin.commit,
        kernel: origin.kernel,
        memory_bytes: origin.memory_bytes,
        cpus: origin.cpus,
        ..labelled(origin.labels, options)
    })
}

fn of_recording(
    directory: &Path,
    options: &SourceOptions,
    manifest: RecordingManifest,
) -> Manifest {
    let provenance = &manifest.provenance;
    let name = name_of(directory);
    let duration = manifest.last_tick.map(|last| last.duration_since(provenance.started));
    Manifest {
        run: run_of(&name, &provenance.id),
        name,
        kind: Kind::Recording,
        suite: NO_SUITE.to_owned(),
        host: provenance.machine.hostname.clone(),
        date: date(provenance.started),
        started: Some(provenance.started),
        duration_ns: duration.and_then(|it| u64::try_from(it.as_nanos()).ok()),
        recordings: vec![RecordingOf { path: String::new(), id: provenance.id.clone() }],
        kernel: Some(provenance.machine.kernel.clone()),
        cpus: provenance.machine.cpus.and_then(|cpus| u64::try_from(cpus).ok()),
        ..labelled(provenance.labels.clone(), options)
    }
}

/// What is the same of both kinds; all else is to be filled in.
fn labelled(labels: BTreeMap<String, String>, options: &SourceOptions) -> Manifest {
    let label =
        |given: &Option<String>, key: &str| given.clone().or_else(|| labels.get(key).cloned());
    Manifest {
        format: FORMAT_VERSION,
        memsample: env!("CARGO_PKG_VERSION").to_owned(),
        kind: Kind::Recording,
        run: String::new(),
        name: String::new(),
        project: label(&options.project, PROJECT).unwrap_or_else(|| "default".to_owned()),
        suite: String::new(),
        date: date(Timestamp::UNIX_EPOCH),
        host: String::new(),
        release: label(&options.release, RELEASE),
        labels,
        commit: None,
        kernel: None,
        memory_bytes: None,
        cpus: None,
        started: None,
        duration_ns: None,
        outcome: None,
        counts: BTreeMap::new(),
        recordings: Vec::new(),
        pushed: Timestamp::now(),
        files: Vec::new(),
    }
}

fn date(instant: Timestamp) -> jiff::civil::Date {
    instant.to_zoned(TimeZone::UTC).date()
}

fn modified(file: &File) -> Timestamp {
    let modified = file.metadata().and_then(|it| it.modified()).ok();
    modified.and_then(|it| Timestamp::try_from(it).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns the table of a file of a recording: `samples` of `samples.parquet` and of what continues it.
fn table_of(name: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".parquet")?;
    let tables = tables();
    let table = tables.iter().find(|table| {
        stem.strip_prefix(table.name)
            .is_some_and(|rest| !rest.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_'))
    });
    table.map(|table| table.name)
}

/// Returns the files of a tree with their hashes, and what is left out.
fn files(
    tree: &Tree,
    directory: &Path,
    manifest: &Manifest,
    hashed: &dyn Fn(u64),
) -> Result<(Vec<LocalFile>, Vec<String>), StoreError> {
    let place = manifest.partition().path();
    let unreadable = |path: &Path, error| {
        StoreError::local(format!("cannot read `{}`", directory.join(path).display()), error)
    };
    let (paths, mut left_out) = tree.files().map_err(|error| unreadable(Path::new(""), error))?;
    let mut files = Vec::with_capacity(paths.len());
    for relative in paths {
        let Some(text) = path_text(&relative) else {
            left_out.push(relative.display().to_string());
            continue;
        };
        let file = tree.file(&relative);
        let hash = file.and_then(|file| hash_of(file, hashed));
        let (bytes, sha256) = hash.map_err(|error| unreadable(&relative, error))?;
        let (table, object) = object_of(&place, manifest, &relative);
        let table = table.map(str::to_owned);
        let stored =
            StoredFile { path: Some(text), object, bytes, sha256, table, row_groups: None };
        files.push(LocalFile { path: relative, stored });
    }
    Ok((files, left_out))
}

/// Returns the table of a file, and its place in the store.
fn object_of(place: &str, manifest: &Manifest, relative: &Path) -> (Option<&'static str>, String) {
    let parent = relative.parent().and_then(path_text).unwrap_or_default();
    let of_recording = manifest.recordings.iter().any(|recording| recording.path == parent);
    let name = relative.file_name().unwrap_or_default().to_string_lossy();
    match table_of(&name).filter(|_| of_recording) {
        Some(table) if parent.is_empty() => {
            (Some(table), format!("{TABLES}/{table}/{place}/{name}"))
        }
        // Several recordings of one run stand beside each other.
        Some(table) => {
            let recording = object_path(Path::new(&parent)).replace('/', ".");
            (Some(table), format!("{TABLES}/{table}/{place}/{recording}.{name}"))
        }
        None => (None, format!("{FILES}/{place}/{}", object_path(relative))),
    }
}

/// Returns how many bytes a file has, and their hash.
pub(crate) fn hash_of(mut file: File, hashed: &dyn Fn(u64)) -> io::Result<(u64, String)> {
    let mut hash = Hash::default();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hash.hex())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
        hashed(read as u64);
    }
}
