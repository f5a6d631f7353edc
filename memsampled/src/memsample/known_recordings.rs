//! The recordings that can be named: those below the present directory, and those of the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::{Manifest, Recording};
use memsample_client::{Client, SOCKET_VARIABLE, default_socket};
use memsample_daemon::default_recordings;
use memsample_inherited::patience;

/// A larger `recording.json` is none.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// How long to wait for a daemon that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A recording and what it is called.
pub(crate) struct KnownRecording {
    /// The name of its directory; of a recording of `memsample run`, that of the run.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

/// All recordings of some directories, newest first.
pub(crate) struct KnownRecordings {
    pub(crate) recordings: Vec<KnownRecording>,
    /// The directories in which they were looked for.
    pub(crate) places: Vec<PathBuf>,
    /// What could not be looked at, and why: there may be more.
    pub(crate) unread: Vec<(PathBuf, io::Error)>,
}

impl KnownRecordings {
    /// Finds those in `recordings` and `runs` here, and in the directory of the daemon.
    pub(crate) fn find() -> Self {
        let mut places = vec![PathBuf::from("recordings"), PathBuf::from("runs")];
        let of_daemon = directory_of_daemon();
        if !places.iter().any(|place| is_same(place, &of_daemon)) {
            places.push(of_daemon);
        }
        Self::below(places)
    }

    /// Finds those in some directories. What is no recording is passed over.
    pub(crate) fn below(places: Vec<PathBuf>) -> Self {
        let mut unread = Vec::new();
        let mut recordings = Vec::new();
        for place in &places {
            recordings.extend(recordings_in(place, &mut unread));
        }
        recordings.sort_by(|one, other| {
            let key = |it: &KnownRecording| (it.manifest.provenance.started, it.name.clone());
            key(other).cmp(&key(one))
        });
        Self { recordings, places, unread }
    }
}

/// Returns the recordings of a run, the last part first; a run that was resumed has several.
pub(crate) fn recordings_of_run(run: &Path) -> Vec<PathBuf> {
    let number = |path: &PathBuf| match path.file_name()?.to_str()?.strip_prefix("recording")? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse::<u32>().ok(),
    };
    let mut parts: Vec<_> = directories_in(run, &mut Vec::new())
        .into_iter()
        .filter_map(|path| Some((number(&path)?, path)))
        .filter(|(_, path)| path.join(Recording::FILE).is_file())
        .collect();
    parts.sort();
    parts.into_iter().rev().map(|(_, path)| path).collect()
}

/// Returns the directory in which the daemon makes recordings: as it says itself, or by default.
fn directory_of_daemon() -> PathBuf {
    let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
    let socket = socket.or_else(|| default_socket().ok());
    let told = socket.and_then(|socket| {
        let health = Client::connect(&socket).ok()?.timeout(patience(PATIENCE)).health().ok()?;
        Some(PathBuf::from(health.recordings))
    });
    told.unwrap_or_else(default_recordings)
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn recordings_in(place: &Path, unread: &mut Vec<(PathBuf, io::Error)>) -> Vec<KnownRecording> {
    let mut found = Vec::new();
    for path in directories_in(place, unread) {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(manifest) = read_manifest(&path, unread) {
            found.push(KnownRecording { name: name(&path), path, manifest });
            continue;
        }
        let parts = recordings_of_run(&path);
        for (index, part) in parts.iter().rev().enumerate() {
            let Some(manifest) = read_manifest(part, unread) else { continue };
            let name = match index {
                0 => name(&path),
                _ => format!("{}/{}", name(&path), name(part)),
            };
            found.push(KnownRecording { name, path: part.clone(), manifest });
        }
    }
    found
}

/// Returns the directories in a directory. Links lead to one of the others.
fn directories_in(place: &Path, unread: &mut Vec<(PathBuf, io::Error)>) -> Vec<PathBuf> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut directories = Vec::new();
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
        Ok(directories)
    };
    looked_at(place, list(), unread).unwrap_or_default()
}

/// Reads what `recording.json` says, and changes nothing: a recording that was not closed is not recovered.
fn read_manifest(recording: &Path, unread: &mut Vec<(PathBuf, io::Error)>) -> Option<Manifest> {
    let path = recording.join(Recording::FILE);
    let metadata = looked_at(&path, fs::symlink_metadata(&path), unread)?;
    if !metadata.is_file() || metadata.len() > MAX_MANIFEST_BYTES {
        return None;
    }
    serde_json::from_slice(&looked_at(&path, fs::read(&path), unread)?).ok()
}

/// Returns what was found; notes what could not be looked at, though it is there.
fn looked_at<T>(
    path: &Path,
    found: io::Result<T>,
    unread: &mut Vec<(PathBuf, io::Error)>,
) -> Option<T> {
    match found {
        Ok(found) => return Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unread.push((path.to_owned(), error)),
    }
    None
}
