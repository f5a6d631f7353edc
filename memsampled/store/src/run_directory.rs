//! The directory of a run on this machine, held open: its results and its recordings, read as they are.

use std::io;
use std::path::{Path, PathBuf};

use memsample::{Recording, RecordingState};
use memsample_input::with_causes;
use memsample_runner::results::{FILE, Results};

use crate::error::{ErrorKind, StoreError};
use crate::layout::relative_path;
use crate::tree::Tree;

/// A directory of a run. What is read of it is in what was opened, whatever its owner puts at its path meanwhile, and no
/// link in it is followed.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    tree: Tree,
    /// Where a person knows it.
    path: PathBuf,
}

impl RunDirectory {
    /// Opens a directory that this program chose.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let tree = Tree::open(path).map_err(|error| {
            StoreError::local(format!("cannot read `{}`", path.display()), error)
        })?;
        Ok(Self::held(tree, path.to_owned()))
    }

    pub(crate) fn held(tree: Tree, path: PathBuf) -> Self {
        Self { tree, path }
    }

    /// Reads what became of its tests; `None` of a recording by itself.
    ///
    /// # Errors
    ///
    /// The results are damaged, of a later format, or no regular file.
    pub fn results(&self) -> Result<Option<Results>, StoreError> {
        let damaged = |error: &dyn std::fmt::Display| {
            let what = format!("the results cannot be read: {error}");
            StoreError::new(ErrorKind::Damaged, what)
        };
        match self.tree.file(Path::new(FILE)) {
            Ok(file) => Results::read_file(file).map(Some).map_err(|error| damaged(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(damaged(&error)),
        }
    }

    /// Opens a recording by its path in the manifest of the run, and changes nothing: opening one that is not closed
    /// would complete it.
    ///
    /// # Errors
    ///
    /// It is not there, is not closed, is damaged or of a later format, or its path leads over a link.
    pub fn recording(&self, name: &str) -> Result<Recording, String> {
        let relative = match name {
            "" => PathBuf::new(),
            name => relative_path(name).ok_or("its path leads out of the run")?,
        };
        let path = self.path.join(&relative);
        let shown = path.file_name().unwrap_or_default().display();
        let held = self.tree.directory(&relative).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                format!("`{shown}` is no directory: links are not followed")
            }
            _ => format!("`{shown}` cannot be read: {error}"),
        })?;
        let recording = Recording::open_in(held, &path).map_err(|error| with_causes(&error))?;
        match recording.manifest().state {
            RecordingState::Recording => {
                Err(format!("`{shown}` was not closed (`memsample recover` completes it)"))
            }
            _ => Ok(recording),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use memsample::{Recorder, RecorderOptions};
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;
    use crate::Store;

    /// Records this machine for a moment, and returns the id of the recording, which each of its rows has.
    fn record(path: &Path) -> String {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let options = RecorderOptions::new().interval(Duration::from_millis(10)).events(false);
        let options = options.duration(Duration::from_millis(30));
        let recorder = Recorder::start(path, options).unwrap();
        while !recorder.is_finished() {
            std::thread::yield_now();
        }
        recorder.stop().unwrap().manifest().provenance.id.clone()
    }

    /// Returns which recordings the rows of a recording are of, as far as they can be read.
    fn ids(recording: &Recording) -> Vec<String> {
        let mut ids = vec![recording.manifest().provenance.id.clone()];
        for table in ["ticks", "processes", "samples"] {
            for batch in recording.read_table(table, &["recording"]) {
                let Ok(batch) = batch else { continue };
                let column = batch.column(0).as_string::<i32>().clone();
                ids.extend((0..column.len()).map(|row| column.value(row).to_owned()));
            }
        }
        ids
    }

    /// Reads a recording again and again while `one` and `other` are exchanged all the time.
    fn race(one: &str, other: &str) {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let inside = record(&at("runs/run/recording"));
        let outside = record(&at("outside/recording"));
        assert_ne!(inside, outside);
        symlink(at("outside"), at("runs/link")).unwrap();
        symlink(at("outside/recording"), at("runs/run/link")).unwrap();
        let store = Store::of_runs(&at("runs")).unwrap();
        store.manifest_keys().unwrap();
        let is_over = AtomicBool::new(false);
        let (one, other) = (at(one), at(other));
        let (mut read, mut refused) = (0, 0);
        let wrong = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let mut wrong = None;
            while wrong.is_none() && (read < 300 || refused < 300) {
                let opened = store.directory_of("manifests/run.json").map_err(|it| it.to_string());
                let opened = opened.and_then(|it| it.unwrap().recording("recording"));
                let Ok(recording) = opened else {
                    refused += 1;
                    continue;
                };
                read += 1;
                wrong = ids(&recording).into_iter().find(|id| *id != inside);
            }
            // The other thread must end before a failure is told.
            is_over.store(true, Ordering::Relaxed);
            wrong
        });
        assert_eq!(wrong, None, "a row is of the recording outside");
    }

    #[test]
    fn a_run_that_is_exchanged_for_a_link_leads_nowhere() {
        race("runs/run", "runs/link");
    }

    #[test]
    fn a_recording_that_is_exchanged_for_a_link_leads_nowhere() {
        race("runs/run/recording", "runs/run/link");
    }
}
