//! Collects the events of a run into its results.

use std::path::PathBuf;

use crate::results::{Abort, Results};
use crate::run::Event;

/// Notes that are kept of a run: more is the same again.
const MAX_NOTES: usize = 1000;

/// What became of a suite, once it has ended.
#[derive(Clone, Debug)]
pub struct SuiteResult {
    /// Where the recording and all results are.
    pub directory: PathBuf,
    /// Why not every test was run; `None` where all were. Unlike the results it says whether the disk was full.
    pub aborted: Option<Abort>,
    /// The results.
    pub results: Results,
}

/// Makes a [`SuiteResult`] of events.
#[derive(Debug, Default)]
pub struct Collector {
    name: String,
    directory: PathBuf,
    notes: Vec<String>,
}

impl Collector {
    /// Takes an event, and returns what became of the suite when it was the last one.
    pub fn take(&mut self, event: &Event) -> Option<SuiteResult> {
        match event {
            Event::SuiteStarted { suite, directory, .. } => {
                self.name.clone_from(suite);
                self.directory.clone_from(directory);
            }
            Event::Note(note) if self.notes.len() < MAX_NOTES => self.notes.push(note.clone()),
            Event::SuiteFinished { results, aborted, duration } => {
                let Self { name, directory, notes } = std::mem::take(self);
                let results = Results::new(name, results, *aborted, *duration, notes);
                return Some(SuiteResult { directory, aborted: *aborted, results });
            }
            _ => {}
        }
        None
    }
}
