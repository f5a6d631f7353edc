//! What happened to an attempt of a test, or to a recording.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use jiff::Timestamp;
use memsample::analysis::{RecordedMark, TickInstant, recording_roles, tick_instants};
use memsample::view::At;
use memsample::{End, Recording, RecordingState};
use memsample_runner::results::wording::no_upper_bound;
use memsample_runner::results::{AttemptResults, Results, TestResults, Verdict};
use serde::{Deserialize, Serialize};

use crate::change::{Change, change};
use crate::kills::kills;
use crate::last_second::{LargeProcess, last_second};
use crate::limits::{LimitThen, limits};
use crate::subject::{Part, Then, at_instant, instant_ms, most_telling, part};

/// The version of the format of the JSON. Raised when a key changes its meaning or goes.
pub const FORMAT_VERSION: u32 = 1;
/// A kill is told if it was within a test, or this long after: the kernel's log is read a moment later.
const AFTER_MS: i64 = 1000;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The test; `None`: of those that ran at the instant, or else of all, the one that tells most.
    pub test: Option<String>,
    /// The instant; `None`: the end of the test, or of the recording.
    pub at: Option<At>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// [`FORMAT_VERSION`] of the program that made it.
    pub format_version: u32,
    /// The suite; `None` of a recording.
    pub suite: Option<String>,
    /// The test; `None` of a recording.
    pub test: Option<String>,
    /// Which of the repetitions that were asked for, from 1.
    pub repetition: Option<u32>,
    /// Which attempt of this repetition, from 1.
    pub attempt: Option<u32>,
    /// How the attempt ended.
    pub outcome: Option<Verdict>,
    /// Why it ended: sentences, and kills of the kernel.
    pub why: Vec<String>,
    /// Other tests that did not pass.
    pub others: Vec<String>,
    /// The lower bound of the peak of resident sets, in bytes; of a recording `None`.
    pub rss_peak_bytes: Option<u64>,
    /// Its upper bound; `None` where nothing bounds it.
    pub rss_peak_bytes_upper: Option<u64>,
    /// The tick with the largest sum of resident sets in the second before the end, or before the instant that was asked
    /// for; `None` where there is no sample in that second.
    pub at: Option<Timestamp>,
    /// How long before the end, or the instant, that tick was, in milliseconds.
    pub before_ms: Option<u64>,
    /// What that second was before.
    pub before: Before,
    /// The sum of all resident sets at that tick, in bytes: shared pages count for each process.
    pub rss_bytes: Option<u64>,
    /// The number of processes then.
    pub processes: Option<u32>,
    /// The largest of them.
    pub largest: Vec<LargeProcess>,
    /// What the limits were, and what was used of them.
    pub limits: Vec<LimitThen>,
    /// What changed against the other run.
    pub change: Option<Change>,
    /// What was not seen, a sentence each.
    pub not_seen: Vec<String>,
}

/// What the last second was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// A kill by the kernel.
    Kill,
    /// The end of the test or the recording.
    End,
    /// The instant that was asked for.
    Instant,
}

/// Why there is no explanation.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExplainError {
    /// The run has no such test.
    NoTest(String, Vec<String>),
    /// The run has no test at all.
    Empty,
    /// The instant is outside of the test or the recording.
    Outside {
        /// The instant.
        at: Timestamp,
        /// The test; `None` of a recording.
        test: Option<String>,
        /// When it began, or the first tick.
        begin: Timestamp,
        /// When it ended, or the last tick.
        end: Timestamp,
    },
    /// A table cannot be read.
    Io(io::Error),
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTest(test, tests) => {
                let tests = tests.iter().take(5).map(|it| memsample_input::printable(it));
                let tests: Vec<String> = tests.collect();
                let test = memsample_input::printable(test);
                write!(f, "there is no test `{test}` in the run; there are {}", tests.join(", "))
            }
            Self::Empty => f.write_str("the run has no test"),
            Self::Outside { at, test, begin, end } => {
                let what = match test {
                    Some(test) => {
                        format!("the test `{}`, which ran", memsample_input::printable(test))
                    }
                    None => "the recording, which went".to_owned(),
                };
                write!(f, "{at:.3} is outside of {what} from {begin:.3} to {end:.3}")
            }
            Self::Io(_) => f.write_str("cannot read the recording"),
        }
    }
}

impl std::error::Error for ExplainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ExplainError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Explains a test of a run; the recording, where an instant without a test is asked for. `open` opens a recording by its
/// path relative to the directory of the run; `None` where it is not there any more.
///
/// # Errors
///
/// See [`ExplainError`].
pub fn explain(
    results: &Results,
    question: &Question,
    base: Option<&Results>,
    open: impl Fn(&str) -> Option<Recording>,
) -> Result<Explanation, ExplainError> {
    let then = match (&question.test, question.at) {
        (None, Some(at)) => at_instant(results, at, &open)?,
        _ => None,
    };
    let (test, attempt) = match then {
        Some(Then::Attempt(test, attempt)) => (test, attempt),
        Some(Then::NoTest(recording)) => {
            let explanation = explain_recording(&recording, question)?;
            return Ok(Explanation {
                suite: Some(results.suite.clone()),
                why: vec!["no test of the run was running then".to_owned()],
                ..explanation
            });
        }
        None => {
            let test = asked_test(results, question)?;
            (test, test.deciding().ok_or(ExplainError::Empty)?)
        }
    };
    let peak = attempt.ended.memory.as_ref().and_then(|memory| memory.rss_peak());
    let mut explanation = Explanation {
        suite: Some(results.suite.clone()),
        test: Some(test.name.clone()),
        repetition: Some(attempt.repetition),
        attempt: Some(attempt.attempt),
        outcome: Some(attempt.ended.outcome),
        why: attempt.ended.reason.iter().chain(&attempt.ended.message).cloned().collect(),
        others: others(results, test),
        rss_peak_bytes: peak.map(|it| it.lower),
        rss_peak_bytes_upper: peak.and_then(|it| it.upper),
        change: base.map(|base| change(base, &test.name, attempt)),
        not_seen: not_seen(attempt),
        ..Explanation::empty()
    };
    let recording = attempt.ended.recording.as_deref().and_then(open);
    let Some(recording) = recording else {
        let why = "there is no recording of it, so it is not known who was largest";
        explanation.not_seen.push(why.to_owned());
        return Ok(explanation);
    };
    let Some(part) = part(&recording, test, attempt)? else {
        let why = "none of its processes is in the recording, so it is not known who was largest";
        explanation.not_seen.push(why.to_owned());
        return Ok(explanation);
    };
    let kills = kills(&recording, part.begin_ms..=part.end_ms.saturating_add(AFTER_MS))?;
    let (own, foreign): (Vec<RecordedMark>, Vec<RecordedMark>) =
        kills.into_iter().partition(|kill| kill.test.as_ref() == Some(&test.name));
    explanation.why.extend(own.iter().map(|kill| kill.name.clone()));
    let meanwhile =
        foreign.iter().map(|kill| format!("meanwhile, of no test or another one: {}", kill.name));
    explanation.why.extend(meanwhile);
    let killed_ms = own.last().map(|kill| kill.ts_ms.min(part.end_ms));
    explanation.look(&recording, &tick_instants(&recording)?, &part, question, killed_ms)?;
    Ok(explanation)
}

/// Returns the test that is named, or else the one that tells most.
fn asked_test<'a>(
    results: &'a Results,
    question: &Question,
) -> Result<&'a TestResults, ExplainError> {
    let Some(name) = &question.test else {
        return most_telling(results.tests.iter()).ok_or(ExplainError::Empty);
    };
    results.tests.iter().find(|it| it.name == *name).ok_or_else(|| {
        let names = results.tests.iter().map(|it| it.name.clone()).collect();
        ExplainError::NoTest(name.clone(), names)
    })
}

/// Explains the end of a recording, or an instant of it.
///
/// # Errors
///
/// See [`ExplainError`].
pub fn explain_recording(
    recording: &Recording,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let manifest = recording.manifest();
    let mut explanation = Explanation::empty();
    let end = match (&manifest.end, manifest.state) {
        (Some(End::Stopped), _) => "the recording was stopped".to_owned(),
        (Some(End::Duration), _) => "the duration of the recording was over".to_owned(),
        (Some(End::Size), _) => "the recording had the size that it may have".to_owned(),
        (Some(End::Idle), _) => "nobody took an interest in the recording any more".to_owned(),
        (Some(End::DiskFull), _) => "the disk was full".to_owned(),
        (Some(End::WriteFailed(why)), _) => format!("the recording could not be written: {why}"),
        (Some(End::SamplingFailed(why)), _) => format!("processes could not be sampled: {why}"),
        (Some(End::Crashed), _) => "the recorder was killed".to_owned(),
        (Some(End::Imported), _) => "the recording was made of captures".to_owned(),
        (Some(End::Dumped), _) => "the recording was cut out of the flight recorder".to_owned(),
        (Some(End::Cut), _) => {
            "the recording was cut here, and goes on in the one that it was cut out of".to_owned()
        }
        (_, RecordingState::Recording) => "the recording is still being written".to_owned(),
        _ => "it is not known why the recording ended".to_owned(),
    };
    explanation.why.push(end);
    if let Some(code) = manifest.command_exit_code {
        explanation.why.push(match code {
            129.. => format!("its command ended with {code}: of a signal, or by itself"),
            _ => format!("its command ended with exit code {code}"),
        });
    }
    let ticks = tick_instants(recording)?;
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else {
        explanation.not_seen.push("the recording has no tick".to_owned());
        return Ok(explanation);
    };
    let images = recording_roles(recording)?
        .into_iter()
        .flat_map(|(role, images)| images.into_iter().map(move |image| (image, role.clone())));
    let part = Part { images: images.collect(), begin_ms: first.ts_ms, end_ms: last.ts_ms };
    let kills = kills(recording, part.begin_ms..=i64::MAX)?;
    explanation.why.extend(kills.iter().map(|kill| kill.name.clone()));
    let killed_ms = kills.last().map(|kill| kill.ts_ms);
    explanation.look(recording, &ticks, &part, question, killed_ms)?;
    Ok(explanation)
}

impl Explanation {
    fn empty() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            suite: None,
            test: None,
            repetition: None,
            attempt: None,
            outcome: None,
            why: Vec::new(),
            others: Vec::new(),
            rss_peak_bytes: None,
            rss_peak_bytes_upper: None,
            at: None,
            before_ms: None,
            before: Before::End,
            rss_bytes: None,
            processes: None,
            largest: Vec::new(),
            limits: Vec::new(),
            change: None,
            not_seen: Vec::new(),
        }
    }

    /// Looks at the last second before the instant that is asked for, before a kill, or before the end.
    fn look(
        &mut self,
        recording: &Recording,
        ticks: &[TickInstant],
        part: &Part,
        question: &Question,
        killed_ms: Option<i64>,
    ) -> Result<(), ExplainError> {
        let first_ms = ticks.first().map_or(part.begin_ms, |tick| tick.ts_ms);
        let time = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
        let asked_ms = question.at.map(|at| instant_ms(at, first_ms));
        if let Some(at_ms) = asked_ms.filter(|at| !(part.begin_ms..=part.end_ms).contains(at)) {
            return Err(ExplainError::Outside {
                at: time(at_ms),
                test: self.test.clone(),
                begin: time(part.begin_ms),
                end: time(part.end_ms),
            });
        }
        let end_ms = asked_ms.or(killed_ms).unwrap_or(part.end_ms);
        self.before = match (asked_ms, killed_ms) {
            (Some(_), _) => Before::Instant,
            (None, Some(_)) => Before::Kill,
            (None, None) => Before::End,
        };
        let losses = &recording.manifest().totals;
        if losses.dropped > 0 {
            let lost = format!("{} samples were read and not written", losses.dropped);
            self.not_seen.push(lost);
        }
        let Some(seen) = last_second(recording, part, end_ms)? else {
            self.not_seen.push("there is no sample in the last second before it".to_owned());
            return Ok(());
        };
        let late: u32 = ticks
            .iter()
            .filter(|tick| (end_ms.saturating_sub(1000)..=end_ms).contains(&tick.ts_ms))
            .map(|tick| tick.late)
            .sum();
        if late > 0 {
            let lost = format!("{late} ticks of that last second were late or missed");
            self.not_seen.push(lost);
        }
        self.at = Timestamp::from_millisecond(seen.ts_ms).ok();
        self.before_ms = Some(end_ms.abs_diff(seen.ts_ms));
        self.rss_bytes = Some(seen.sums.rss_bytes);
        self.processes = Some(seen.sums.processes);
        self.limits =
            limits(recording, &seen.cgroups, seen.ts_ms, seen.meminfo, &mut self.not_seen)?;
        self.largest = seen.largest;
        if self.before == Before::Kill {
            self.not_seen.push(format!(
                "what was allocated in the {} ms between that tick and the kill; the kernel counts pages of its own and \
                 page cache, which no process has resident",
                end_ms.abs_diff(seen.ts_ms)
            ));
        }
        Ok(())
    }
}

/// Returns the other tests that did not pass.
fn others(results: &Results, test: &TestResults) -> Vec<String> {
    let others = results.tests.iter().filter(|it| it.name != test.name);
    let failed = others.filter(|it| !it.ended.outcome.is_success());
    failed.map(|it| format!("{} ({})", it.name, it.ended.outcome.word())).collect()
}

/// Returns what the results say that was not seen.
fn not_seen(attempt: &AttemptResults) -> Vec<String> {
    let mut missing = BTreeSet::new();
    match &attempt.ended.memory {
        None => {
            missing.insert("its memory was not measured".to_owned());
        }
        Some(memory) => {
            if memory.gaps > 0 {
                missing.insert(format!("{} ticks while it ran were late or missed", memory.gaps));
            }
            if memory.unsampled_processes > 0 {
                missing.insert(format!(
                    "{} of its {} processes lived between two ticks: of these only the peak is known",
                    memory.unsampled_processes, memory.processes
                ));
            }
            missing.extend(no_upper_bound(memory));
            if let Some(why) = &memory.pss_missing {
                missing.insert(format!("its PSS is not known: {why}"));
            }
        }
    }
    missing.into_iter().chain(attempt.ended.notes.iter().cloned()).collect()
}
