//! Makes a report of recordings and results.

use std::collections::HashMap;
use std::io;

use memsample::analysis::{TestUsage, attempt_mark, both_at_once, test_usages};
use memsample::{Recording, RecordingState};
use memsample_runner::results::wording::joined;
use memsample_runner::results::{AttemptResults, Memory, RoleMemory, TestResults};

use super::{AttemptReport, Part, Report, Source, TestReport};
use crate::recorded::limits::group_limits;
use crate::recorded::machine::MachineMemory;
use crate::recorded::marks::Marks;
use crate::recorded::sampling::Sampling;
use crate::recorded::timeline::{AttemptCurve, Timeline};

impl Report {
    /// Makes a report of a run or of a recording.
    ///
    /// A recording of a run that cannot be read is a note; its tests are reported as far as the results go.
    ///
    /// # Errors
    ///
    /// A table cannot be read of a recording without results, so that nothing is left to report.
    pub fn new(source: Source) -> io::Result<Self> {
        let Source { name, results, recordings, mut notes } = source;
        let mut parts = Vec::new();
        let mut curves = Curves::default();
        let mut usages = Vec::new();
        for (part_name, recording) in recordings {
            // What results say was computed when the run ended.
            let of_tests = || results.is_none().then(|| test_usages(&recording)).transpose();
            // Each takes a pass over all samples of its own.
            let (read, of_tests) =
                both_at_once(|| Part::read(part_name.clone(), &recording), of_tests);
            match read.and_then(|(part, attempts)| Ok((part, attempts, of_tests?.unwrap_or_default()))) {
                Ok((part, attempts, of_tests)) => {
                    curves.add(parts.len(), attempts);
                    usages.extend(of_tests.into_iter().map(|usage| (parts.len(), usage)));
                    if part.manifest.state == RecordingState::Recording {
                        notes.push(format!(
                            "`{part_name}` is still being written: this is its state at the last flush"
                        ));
                    }
                    parts.push(part);
                }
                Err(error) if results.is_some() => notes.push(format!(
                    "the recording `{part_name}` cannot be read, so that what it holds is missing here: {error}"
                )),
                Err(error) => return Err(error),
            }
        }
        let tests = match &results {
            Some(results) => results.tests.iter().map(|it| of_results(it, &mut curves)).collect(),
            None => of_usages(usages, &mut curves),
        };
        Ok(Self { title: name, results, tests, parts, notes })
    }
}

impl Part {
    /// Reads a recording, and returns it and the attempts of tests in it.
    fn read(name: String, recording: &Recording) -> io::Result<(Self, Vec<AttemptCurve>)> {
        let mut timeline = Timeline::read(recording)?;
        let attempts = std::mem::take(&mut timeline.attempts);
        let part = Self {
            name,
            manifest: recording.manifest().clone(),
            machine: MachineMemory::read(recording, timeline.begin_ms, timeline.end_ms)?,
            marks: Marks::read(recording)?,
            limits: group_limits(recording)?,
            sampling: Sampling::read(recording)?,
            timeline,
        };
        Ok((part, attempts))
    }
}

/// The memory over time of the attempts of all parts, by test and mark; where there is no mark, by the begin.
#[derive(Default)]
struct Curves(HashMap<(String, AttemptKey), (usize, AttemptCurve)>);

#[derive(PartialEq, Eq, Hash)]
enum AttemptKey {
    Mark(String),
    /// In milliseconds since 1970.
    Begin(i64),
}

impl Curves {
    fn add(&mut self, place: usize, attempts: Vec<AttemptCurve>) {
        for curve in attempts {
            let key = match &curve.mark {
                Some(mark) => AttemptKey::Mark(mark.clone()),
                None => AttemptKey::Begin(curve.begin_ms),
            };
            self.0.insert((curve.test.clone(), key), (place, curve));
        }
    }

    fn take(&mut self, test: &str, key: AttemptKey) -> Option<(usize, AttemptCurve)> {
        self.0.remove(&(test.to_owned(), key))
    }

    /// Returns that of an attempt of which no results are known.
    fn take_of(&mut self, usage: &TestUsage) -> Option<(usize, AttemptCurve)> {
        self.take(
            &usage.test,
            match &usage.mark {
                Some(mark) => AttemptKey::Mark(mark.clone()),
                None => AttemptKey::Begin(usage.begin.as_millisecond()),
            },
        )
    }
}

fn of_results(test: &TestResults, curves: &mut Curves) -> TestReport {
    let attempts: Vec<AttemptReport> = test
        .attempts
        .iter()
        .map(|attempt| {
            let AttemptResults { repetition, attempt, ended } = attempt;
            let mark = attempt_mark(*repetition, *attempt);
            let found = curves.take(&test.name, AttemptKey::Mark(mark.clone()));
            AttemptReport {
                mark,
                memory: ended.memory.clone(),
                roles: ended.roles.clone(),
                part: found.as_ref().map(|(part, _)| *part),
                curve: found.map(|(_, curve)| curve),
                ended: Some(ended.clone()),
            }
        })
        .collect();
    let deciding = test.deciding();
    let is_deciding =
        |it: &AttemptResults| deciding.is_some_and(|decided| std::ptr::eq(decided, it));
    TestReport {
        name: test.name.clone(),
        verdict: Some(test.ended.outcome),
        why: joined(test.ended.reason.as_deref(), test.ended.message.as_deref()),
        duration_ns: test.ended.duration_ns,
        memory: test.ended.memory.clone(),
        counts: test.attempts.iter().position(is_deciding).unwrap_or(0),
        attempts,
    }
}

/// Returns the tests of which only recordings are known, in the order of their begin.
fn of_usages(usages: Vec<(usize, TestUsage)>, curves: &mut Curves) -> Vec<TestReport> {
    let mut tests: Vec<TestReport> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (part, usage) in usages {
        let memory = Memory::from(&usage);
        let found = curves.take_of(&usage);
        let attempt = AttemptReport {
            mark: usage.mark.clone().unwrap_or_default(),
            ended: None,
            memory: (usage.processes > 0).then_some(memory),
            roles: usage.roles.iter().map(RoleMemory::from).collect(),
            part: Some(part),
            curve: found.map(|(_, curve)| curve),
        };
        let place = *places.entry(usage.test.clone()).or_insert_with(|| {
            tests.push(TestReport {
                name: usage.test.clone(),
                verdict: None,
                why: None,
                duration_ns: None,
                memory: None,
                attempts: Vec::new(),
                counts: 0,
            });
            tests.len() - 1
        });
        let Some(test) = tests.get_mut(place) else { continue };
        let peak = |memory: &Option<Memory>| memory.as_ref().and_then(|it| it.rss_peak_bytes);
        if test.attempts.is_empty() || peak(&attempt.memory) > peak(&test.memory) {
            test.counts = test.attempts.len();
            test.memory.clone_from(&attempt.memory);
            let lasted = usage.end.duration_since(usage.begin).as_nanos();
            test.duration_ns = u64::try_from(lasted).ok();
        }
        test.attempts.push(attempt);
    }
    tests
}
