//! A recording of what a flight recorder has left whose program died.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::dump::DumpError;
use super::joining::{Joined, Outcome, join};
use super::ring::read_manifest;
use crate::recording::{End, Recording, RecordingDirectory, RecordingState};

/// Makes the recording and removes the directory, or sets it aside.
pub(super) fn salvage(
    directory: &Path,
    path: &Path,
    labels: BTreeMap<String, String>,
) -> Result<Option<Recording>, DumpError> {
    let failed = |error| DumpError::at(path, error);
    if !directory.exists() {
        return Ok(None);
    }
    let ring = RecordingDirectory::existing(directory).map_err(failed)?;
    let lock = match ring.lock() {
        Ok(lock) => lock,
        // It died before it had written anything.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::remove_dir(directory) {
                Ok(()) => Ok(None),
                Err(_) => set_aside(directory).map_err(failed).map(|()| None),
            };
        }
        Err(error) => return Err(failed(error)),
    };
    let _lock = lock.ok_or_else(|| failed(io::Error::other("another program has it")))?;
    let mut segments = Vec::new();
    for number in ring.journals().map_err(failed)? {
        let file = ring.journal_file(number).map_err(failed)?;
        // One that was just made.
        if file.metadata().map_err(failed)?.len() > 0 {
            segments.push(file);
        }
    }
    let manifest = match read_manifest(&ring) {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == io::ErrorKind::NotFound && segments.is_empty() => {
            return ring.remove().map_err(failed).map(|()| None);
        }
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
        {
            return set_aside(directory).map_err(failed).map(|()| None);
        }
        Err(error) => return Err(failed(error)),
    };
    let note = "left by a flight recorder whose program died".to_owned();
    let joined = Joined {
        segments,
        from_boot_ns: 0,
        manifest,
        labels,
        notes: vec![note],
        end: End::Crashed,
        state: RecordingState::Recovered,
    };
    let Outcome { recording, is_damaged } = join(joined, path).map_err(failed)?;
    if is_damaged {
        set_aside(directory).map_err(failed)?;
    } else {
        ring.remove().map_err(failed)?;
    }
    Ok(recording)
}

/// Returns where a directory is put in which something is damaged.
pub(super) fn aside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    directory.with_file_name(name)
}

fn set_aside(directory: &Path) -> io::Result<()> {
    let aside = aside(directory);
    if aside.exists() {
        return Err(io::Error::other(format!("`{}` is there already", aside.display())));
    }
    fs::rename(directory, aside)
}
