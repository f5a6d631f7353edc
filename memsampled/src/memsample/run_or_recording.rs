//! Which run or recording a person means.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample_runner::results::{FILE, Results};

use crate::recording_path;

/// What a command that takes both is given.
pub(crate) enum RunOrRecording {
    /// A run, with its results.
    Run {
        /// Its directory.
        directory: PathBuf,
        /// What became of its tests.
        results: Box<Results>,
    },
    /// A recording.
    Recording,
}

impl RunOrRecording {
    /// Returns what is named: a directory of a run or its `results.json`, or what else names a recording. A name or
    /// `@latest` that leads to the recording of a run means the run.
    pub(crate) fn find(named: &Path) -> anyhow::Result<Self> {
        let directory = if named.join(FILE).is_file() {
            Some(named.to_owned())
        } else if named.is_file() && named.file_name().is_some_and(|name| name == FILE) {
            named.parent().map(Path::to_owned)
        } else if named.exists() {
            None
        } else {
            let recording = recording_path::resolve(named)?;
            recording.parent().filter(|run| run.join(FILE).is_file()).map(Path::to_owned)
        };
        let Some(directory) = directory else { return Ok(Self::Recording) };
        let file = directory.join(FILE);
        let results = Results::read(&file)
            .with_context(|| format!("cannot read results from `{}`", file.display()))?;
        Ok(Self::Run { directory, results: Box::new(results) })
    }
}
