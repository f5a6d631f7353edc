use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::runner::{Abort, Event, Outcome, TestResult, of_test};

/// Notes that are kept of a run: more is the same again.
const MAX_NOTES: usize = 1000;

/// What became of a suite, once it has ended.
#[derive(Clone, Debug)]
pub struct SuiteResult {
    /// The name of the suite.
    pub name: String,
    /// Where the recording and all results are.
    pub directory: PathBuf,
    /// When its first attempt began; `None` where none did.
    pub started: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// Why not every test was run; `None` where all were.
    pub aborted: Option<Abort>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// The tests, in the order of the suite.
    pub tests: Vec<TestVerdict>,
}

/// What became of a test, from all its attempts.
#[derive(Clone, Debug)]
pub struct TestVerdict {
    /// Its name.
    pub name: String,
    /// How it ended as a whole: the worst of its repetitions, or `flaky`.
    pub outcome: Outcome,
    /// In the order in which they were made; one at least.
    pub attempts: Vec<TestResult>,
}

/// What became of a suite, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuiteOutcome {
    /// Every test passed, if perhaps not at first, or was skipped.
    Passed,
    /// A test did not.
    Failed,
    /// It did not come to its end: a signal, its time, its setup or the disk prevented it.
    Aborted,
}

impl SuiteOutcome {
    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

impl SuiteResult {
    /// Returns what became of it in one word.
    #[must_use]
    pub fn outcome(&self) -> SuiteOutcome {
        match self.aborted {
            // It was told to end at the first failure, and did.
            Some(Abort::FailFast) => SuiteOutcome::Failed,
            Some(_) => SuiteOutcome::Aborted,
            None if self.tests.iter().all(|test| test.outcome.is_success()) => SuiteOutcome::Passed,
            None => SuiteOutcome::Failed,
        }
    }

    /// Returns how many tests there are of each outcome that occurs, by its word.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for test in &self.tests {
            *counts.entry(test.outcome.word()).or_default() += 1;
        }
        counts
    }
}

impl TestVerdict {
    /// Returns the attempts of each repetition.
    #[must_use]
    pub fn repetitions(&self) -> BTreeMap<u32, Vec<&TestResult>> {
        let mut repetitions: BTreeMap<u32, Vec<&TestResult>> = BTreeMap::new();
        for attempt in &self.attempts {
            repetitions.entry(attempt.test.repetition).or_default().push(attempt);
        }
        repetitions
    }

    /// Returns the attempt that decided: the last of the first repetition that ended as the test as a
    /// whole.
    #[must_use]
    pub fn deciding(&self) -> Option<&TestResult> {
        let repetitions = self.repetitions();
        let of_whole = |attempts: &&Vec<&TestResult>| {
            of_test(attempts.iter().copied()).as_ref() == Some(&self.outcome)
        };
        let deciding = repetitions.values().find(of_whole);
        deciding.and_then(|attempts| attempts.last().copied()).or(self.attempts.last())
    }
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
                return Some(SuiteResult {
                    name: std::mem::take(&mut self.name),
                    directory: std::mem::take(&mut self.directory),
                    started: results.iter().filter_map(|result| result.started).min(),
                    duration: *duration,
                    aborted: *aborted,
                    notes: std::mem::take(&mut self.notes),
                    tests: by_test(results),
                });
            }
            _ => {}
        }
        None
    }
}

/// Puts the attempts of a test together. Tests keep the order in which they first occur.
fn by_test(results: &[TestResult]) -> Vec<TestVerdict> {
    let mut tests: Vec<(String, Vec<TestResult>)> = Vec::new();
    let mut positions = BTreeMap::new();
    for result in results {
        let name = &result.test.test;
        let position = *positions.entry(name).or_insert(tests.len());
        match tests.get_mut(position) {
            Some((_, attempts)) => attempts.push(result.clone()),
            None => tests.push((name.clone(), vec![result.clone()])),
        }
    }
    let verdict = |(name, mut attempts): (String, Vec<TestResult>)| {
        attempts.sort_by_key(|attempt| (attempt.test.repetition, attempt.test.attempt));
        Some(TestVerdict { outcome: of_test(&attempts)?, name, attempts })
    };
    tests.into_iter().filter_map(verdict).collect()
}
