//! Which run or recording a person means.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample_inherited::tell;
use memsample_input::printable;
use memsample_runner::results::{FILE, Results};
use memsample_runner::run::PROGRESS_FILE;

use crate::known_recordings::recordings_of_run;
use crate::recording_path;

/// What a command that takes both is given.
pub(crate) enum RunOrRecording {
    /// The directory of a run.
    Run(PathBuf),
    /// A recording.
    Recording,
}

impl RunOrRecording {
    /// Returns what is named: a directory of a run or its `results.json`, or what else names a recording. A name or
    /// `@latest` that leads to the recording of a run means the run.
    pub(crate) fn find(named: &Path) -> anyhow::Result<Self> {
        let directory = match named.parent() {
            Some(parent) if named.ends_with(FILE) && named.is_file() => parent,
            _ => named,
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        if is_run(directory) {
            return Ok(Self::Run(directory.to_owned()));
        }
        // Who gives the path of a recording means it alone.
        if named.exists() {
            return Ok(Self::Recording);
        }
        let recording = recording_path::resolve(named)?;
        let run = recording.parent().filter(|run| is_run(run));
        Ok(run.map_or(Self::Recording, |run| Self::Run(run.to_owned())))
    }
}

/// Returns whether a directory is that of a run, which may not have ended.
fn is_run(path: &Path) -> bool {
    path.join(FILE).is_file() || path.join(PROGRESS_FILE).is_file()
}

/// Returns the last recording of a run, for what is of one alone, and says so where there are several.
pub(crate) fn last_recording(run: &Path) -> anyhow::Result<PathBuf> {
    let parts = recordings_of_run(run);
    let Some(last) = parts.first() else {
        bail!("`{}` has no recording", printable(&run.display().to_string()));
    };
    if parts.len() > 1 {
        tell(format!(
            "note: the run was resumed: this is the last of its {} recordings, `{}`",
            parts.len(),
            printable(&last.display().to_string())
        ));
    }
    Ok(last.clone())
}

/// Reads what became of the tests of a run; `None` of one that has not ended.
pub(crate) fn results(run: &Path) -> anyhow::Result<Option<Results>> {
    let file = run.join(FILE);
    let cannot =
        || format!("cannot read results from `{}`", printable(&file.display().to_string()));
    if !file.try_exists().with_context(cannot)? {
        return Ok(None);
    }
    Results::read(&file).map(Some).with_context(cannot)
}

/// The same of a run that must have ended.
pub(crate) fn ended_results(run: &Path) -> anyhow::Result<Results> {
    match results(run)? {
        Some(results) => Ok(results),
        None => bail!(
            "the run `{}` has no {FILE}, since it has not ended: `memsample run --resume` continues one that was killed",
            printable(&run.display().to_string())
        ),
    }
}
