//! Which run or recording a person means, and what there is of it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample::Recording;
use memsample_input::printable;
use memsample_report::Source;
use memsample_runner::results::{FILE, Results};

use crate::known_recordings::recordings_of_run;
use crate::recording_path;
use crate::summary::note_recovery;

/// What was found.
pub(super) struct Found {
    pub(super) source: Source,
    /// The directory of the run; `None` of a recording that is of no run.
    pub(super) directory: Option<PathBuf>,
}

/// Finds a run or a recording.
pub(super) fn find(named: &Path) -> anyhow::Result<Found> {
    // The results stand for the run.
    let named = match named.parent() {
        Some(parent) if named.ends_with(FILE) && named.is_file() => parent,
        _ => named,
    };
    let named = if named.as_os_str().is_empty() { Path::new(".") } else { named };
    if is_run(named) {
        return of_run(named);
    }
    let path = recording_path::resolve(named)?;
    // A name is that of a run; who gives the path of a recording means it alone.
    let is_path = named.join("recording.json").exists();
    match path.parent().filter(|run| !is_path && is_run(run)) {
        Some(run) => of_run(run),
        None => of_recording(named),
    }
}

fn is_run(path: &Path) -> bool {
    path.join(FILE).is_file() || path.join("progress.jsonl").is_file()
}

fn of_run(run: &Path) -> anyhow::Result<Found> {
    let mut notes = Vec::new();
    let file = run.join(FILE);
    let results = match file.exists() {
        true => {
            let read = Results::read(&file);
            Some(
                read.with_context(|| {
                    format!("cannot read the results of the run `{}`", shown(run))
                })?,
            )
        }
        false => {
            notes.push(
                "the run has no results.json, since it has not ended: verdicts are not known yet, and memory is \
                 as of the last flush. `memsample run --resume` continues a run that was killed"
                    .to_owned(),
            );
            None
        }
    };
    let mut recordings = Vec::new();
    for path in recordings_of_run(run).into_iter().rev() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Recording::open(&path) {
            Ok((recording, recovery)) => {
                note_recovery(recovery);
                recordings.push((name, recording));
            }
            Err(error) if results.is_some() => {
                let error = anyhow::Error::from(error);
                notes.push(format!("the memory over time is missing: {error:#}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if recordings.is_empty() && results.is_some() && notes.is_empty() {
        notes.push("the run has no recording, so that the memory over time is missing".to_owned());
    }
    let name = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = Source { name, results, recordings, notes };
    Ok(Found { source, directory: Some(run.to_owned()) })
}

fn of_recording(named: &Path) -> anyhow::Result<Found> {
    let (recording, recovery) = recording_path::open(named)?;
    note_recovery(recovery);
    let name = recording.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = if name.is_empty() { recording.manifest().provenance.name.clone() } else { name };
    let recordings = vec![(name.clone(), recording)];
    let source = Source { name, results: None, recordings, notes: Vec::new() };
    Ok(Found { source, directory: None })
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
