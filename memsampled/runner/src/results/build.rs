//! Makes the results of a suite of the results of its attempts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::attempt::{Attempt, TestResult};
use super::file::{AttemptResults, EndResults, FORMAT_VERSION, Results, TestResults};
use super::origin::Origin;
use super::outcome::{Abort, SuiteOutcome, Verdict};
use super::repeated::Repeated;
use super::whole::of_test;
use super::wording;

impl Results {
    /// Returns the results of a suite from those of its attempts. Tests keep the order in which they first occur.
    #[must_use]
    pub fn new(
        suite: String,
        attempts: &[TestResult],
        aborted: Option<Abort>,
        duration: Duration,
        notes: Vec<String>,
    ) -> Self {
        let tests: Vec<TestResults> = by_test(attempts)
            .into_iter()
            .filter_map(|attempts| TestResults::new(&attempts))
            .collect();
        let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
        for test in &tests {
            *counts.entry(test.ended.outcome).or_default() += 1;
        }
        Self {
            format_version: FORMAT_VERSION,
            memsample_version: env!("CARGO_PKG_VERSION").to_owned(),
            suite,
            outcome: match aborted {
                // It ended at the first failure, as was asked for.
                Some(Abort::FailFast) => SuiteOutcome::Failed,
                Some(_) => SuiteOutcome::Aborted,
                None if tests.iter().all(|test| test.ended.outcome.is_success()) => {
                    SuiteOutcome::Passed
                }
                None => SuiteOutcome::Failed,
            },
            aborted: aborted.map(Abort::cause),
            abort_signal: match aborted {
                Some(Abort::Signal(signal)) => Some(signal),
                _ => None,
            },
            started: attempts.iter().filter_map(|attempt| attempt.started).min(),
            duration_ns: nanoseconds(duration),
            counts,
            notes,
            run: None,
            origin: Origin::default(),
            steps: Vec::new(),
            tests,
        }
    }
}

/// Puts the attempts of each test together.
fn by_test(attempts: &[TestResult]) -> Vec<Vec<&TestResult>> {
    let mut tests: Vec<Vec<&TestResult>> = Vec::new();
    let mut positions = BTreeMap::new();
    for attempt in attempts {
        let position = *positions.entry(&attempt.test.test).or_insert(tests.len());
        match tests.get_mut(position) {
            Some(attempts) => attempts.push(attempt),
            None => tests.push(vec![attempt]),
        }
    }
    for attempts in &mut tests {
        attempts.sort_by_key(|attempt| (attempt.test.repetition, attempt.test.attempt));
    }
    tests
}

impl TestResults {
    /// Returns the results of a test from all its attempts, in order; `None` where there are none.
    fn new(attempts: &[&TestResult]) -> Option<Self> {
        let outcome = of_test(attempts.iter().copied())?;
        let mut repetitions: BTreeMap<u32, Vec<&TestResult>> = BTreeMap::new();
        for attempt in attempts {
            repetitions.entry(attempt.test.repetition).or_default().push(attempt);
        }
        // The attempt that decided: the last of the first repetition that ended as the test as a whole.
        let is_whole = |attempts: &&Vec<&TestResult>| {
            of_test(attempts.iter().copied()).as_ref() == Some(&outcome)
        };
        let deciding = repetitions.values().find(is_whole).and_then(|attempts| attempts.last());
        let deciding = deciding.or(attempts.last())?;
        let all: Vec<AttemptResults> = attempts.iter().map(|attempt| (*attempt).into()).collect();
        let mut ended = EndResults::from(*deciding);
        ended.outcome = outcome.verdict();
        // Of a flaky test, what went wrong is in an attempt before.
        if deciding.outcome.is_success() && ended.reason.is_none() {
            let failed = all.iter().find(|attempt| !attempt.ended.outcome.is_success());
            ended.reason = failed.map(AttemptResults::failure);
        }
        let tags = deciding.tags.clone();
        let used = all.iter().map(|attempt| {
            let AttemptResults { repetition, ended, .. } = attempt;
            (*repetition, ended.memory.as_ref(), ended.duration_ns)
        });
        let repeated = Repeated::of(used);
        Some(Self { name: deciding.test.test.clone(), ended, tags, repeated, attempts: all })
    }
}

impl From<&TestResult> for AttemptResults {
    fn from(result: &TestResult) -> Self {
        let Attempt { repetition, attempt, .. } = result.test;
        Self { repetition, attempt, ended: result.into() }
    }
}

impl From<&TestResult> for EndResults {
    fn from(result: &TestResult) -> Self {
        Self {
            outcome: result.outcome.verdict(),
            reason: wording::why(result),
            message: result.message.clone(),
            exit_code: result.exit_code,
            signal: result.signal,
            started: result.started,
            duration_ns: result.started.map(|_| nanoseconds(result.duration)),
            sandbox: Some(result.sandbox.clone()).filter(|word| !word.is_empty()),
            memory: result.memory.clone(),
            roles: result.roles.clone(),
            group: result.group.clone(),
            budgets: result.budgets.clone(),
            leaks: result.leaks.clone(),
            memory_limit_bytes: result.memory_limit_bytes,
            left_over_processes: result.left_over_processes.clone(),
            recording: result.recording.as_deref().map(text),
            stdout: result.stdout.as_deref().map(text),
            stderr: result.stderr.as_deref().map(text),
            output_cut_bytes: result.output_cut_bytes,
            artifacts: result.artifacts.iter().map(|path| text(path)).collect(),
            kept: result.kept.as_deref().map(text),
            notes: result.notes.clone(),
        }
    }
}

/// Returns a path as text. JSON has no other; what is not UTF-8 in it is replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Returns a time as results have it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
