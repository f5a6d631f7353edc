//! Which run or recording a person means, and what there is of it.

use std::path::{Path, PathBuf};

use memsample::Recording;
use memsample_report::Source;

use crate::known_recordings::recordings_of_run;
use crate::recording_path;
use crate::run_or_recording::{RunOrRecording, results};
use crate::summary::note_recovery;

/// What was found.
pub(super) struct Found {
    pub(super) source: Source,
    /// The directory of the run; `None` of a recording that is of no run.
    pub(super) directory: Option<PathBuf>,
}

/// Finds a run or a recording.
pub(super) fn find(named: &Path) -> anyhow::Result<Found> {
    match RunOrRecording::find(named)? {
        RunOrRecording::Run(run) => of_run(&run),
        RunOrRecording::Recording => of_recording(named),
    }
}

fn of_run(run: &Path) -> anyhow::Result<Found> {
    let mut notes = Vec::new();
    let results = results(run)?;
    if results.is_none() {
        notes.push(
            "the run has no results.json, since it has not ended: verdicts are not known yet, and memory is \
             as of the last flush. `memsample run --resume` continues a run that was killed"
                .to_owned(),
        );
    }
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
