//! Collects the events of a run into its results.

use std::path::{Path, PathBuf};

use crate::results::{Abort, Origin, Results, StepResult, Verdict};
use crate::run::{Event, recording_name};

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
    steps: Vec<StepResult>,
    origin: Origin,
}

impl Collector {
    /// Returns one for a suite that is run where and how `origin` says.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self { origin, ..Self::default() }
    }

    /// Takes an event, and returns what became of the suite when it was the last one.
    pub fn take(&mut self, event: &Event) -> Option<SuiteResult> {
        match event {
            Event::SuiteStarted { suite, directory, .. } => {
                self.name.clone_from(suite);
                self.directory.clone_from(directory);
            }
            Event::Note(note) if self.notes.len() < MAX_NOTES => self.notes.push(note.clone()),
            Event::StepFinished(step) => {
                // Of one that a signal ended the outcome of the suite says enough.
                if !matches!(step.outcome, Verdict::Passed | Verdict::Aborted) {
                    self.notes.push(step.sentence());
                }
                self.steps.push((**step).clone());
            }
            Event::SuiteFinished { results, aborted, duration } => {
                let Self { name, directory, notes, steps, origin } = std::mem::take(self);
                let mut results = Results::new(name, results, *aborted, *duration, notes);
                results.origin = Origin { recordings: recordings(&directory), ..origin };
                results.steps = steps;
                return Some(SuiteResult { directory, aborted: *aborted, results });
            }
            _ => {}
        }
        None
    }
}

/// Returns the names of the recordings in the directory of a run, in the order in which they were made.
fn recordings(directory: &Path) -> Vec<String> {
    let numbers = 1..;
    let names = numbers.map(recording_name);
    names.take_while(|name| directory.join(name).is_dir()).collect()
}
