//! `results.json`: what became of every test, for programs. Its schema is `docs/results.schema.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::LeftOverProcess;
use super::budget::BudgetResult;
use super::group::GroupUse;
use super::leak::LeakResult;
use super::memory::{Memory, RoleMemory};
use super::origin::Origin;
use super::outcome::{AbortCause, SuiteOutcome, Verdict};
use super::repeated::Repeated;
use super::step::StepResult;
use super::whole::whole;
use super::wording;
use crate::replace::replace;

/// The name of the file in the directory of results.
pub const FILE: &str = "results.json";
/// The version of the format that is written. Raised when a key changes its meaning or goes; a new key is no reason.
pub const FORMAT_VERSION: u32 = 1;
/// The oldest format that is read.
const OLDEST_VERSION: u32 = 1;
/// The largest file that is read: that of a hundred thousand attempts is below.
const MAX_BYTES: u64 = 256 << 20;

/// What became of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT_VERSION`] of the program that wrote them.
    pub format_version: u32,
    /// The version of that program.
    pub memsample_version: String,
    /// The name of the suite.
    pub suite: String,
    /// How the suite ended.
    pub outcome: SuiteOutcome,
    /// Why not every test was run; `None` where all were.
    pub aborted: Option<AbortCause>,
    /// The signal that ended the suite.
    pub abort_signal: Option<i32>,
    /// When its first attempt began; `None` where none did.
    pub started: Option<Timestamp>,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// How many tests there are of each verdict that occurs.
    pub counts: BTreeMap<Verdict, u64>,
    /// What a reader must know, such as a sandbox that does not work here.
    pub notes: Vec<String>,
    /// The directory of results. Not in the file, so that it can be moved; only in what `--json` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Where and how the suite was run.
    #[serde(flatten)]
    pub origin: Origin,
    /// The setup and the teardown of the suite, as far as they were run. Of a resumed run those of its last part.
    #[serde(default)]
    pub steps: Vec<StepResult>,
    /// The tests, in the order of the suite.
    pub tests: Vec<TestResults>,
}

/// What became of a test, from all its attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResults {
    /// Its name.
    pub name: String,
    /// The outcome is the worst of its repetitions, or `flaky`; all else is of the attempt that decided it, the last
    /// of that repetition.
    #[serde(flatten)]
    pub ended: EndResults,
    /// The words by which it can be selected.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What all its repetitions used; `None` of a test that ran once.
    #[serde(default)]
    pub repeated: Option<Repeated>,
    /// Its attempts by repetition and attempt; one at least.
    pub attempts: Vec<AttemptResults>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptResults {
    /// Which of the repetitions that were asked for, from 1.
    pub repetition: u32,
    /// Which attempt of this repetition, from 1: above 1 are retries.
    pub attempt: u32,
    /// How it ended.
    #[serde(flatten)]
    pub ended: EndResults,
}

/// How an attempt or a test ended, and what it used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndResults {
    /// How it ended, in one word.
    pub outcome: Verdict,
    /// For people: why it ended so.
    pub reason: Option<String>,
    /// For people: the line of its output that says most about why it did not pass.
    #[serde(default)]
    pub message: Option<String>,
    /// The exit code of its program, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its program.
    pub signal: Option<i32>,
    /// When it began; `None` where it was not started.
    pub started: Option<Timestamp>,
    /// From its first instruction until its last process ended, in nanoseconds; with cleanup steps, until those began.
    pub duration_ns: Option<u64>,
    /// The sandbox that it had: `none`, `pidns`, `bwrap` or `lxc:NAME`.
    pub sandbox: Option<String>,
    /// The memory that it used; `None` where nothing was sampled.
    pub memory: Option<Memory>,
    /// The memory that it used by role, largest first.
    #[serde(default)]
    pub roles: Vec<RoleMemory>,
    /// What its control group had; `None` where there was none that counts.
    #[serde(default)]
    pub group: Option<GroupUse>,
    /// What became of its budgets.
    #[serde(default)]
    pub budgets: Vec<BudgetResult>,
    /// Whether its memory leaks, worst first; empty where the suite does not ask.
    #[serde(default)]
    pub leaks: Vec<LeakResult>,
    /// The most memory that its control group might have; `None` without a limit.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// Processes that it left behind. The runner killed them.
    #[serde(default)]
    pub left_over_processes: Vec<LeftOverProcess>,
    /// The recording that has its processes, relative to the directory of results.
    #[serde(default)]
    pub recording: Option<String>,
    /// The file with its standard output, relative to the directory of results.
    pub stdout: Option<String>,
    /// The file with its standard error, relative to the directory of results.
    pub stderr: Option<String>,
    /// Bytes of output that were not kept.
    #[serde(default)]
    pub output_cut_bytes: u64,
    /// Files that were kept, relative to the directory of results.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// What it wrote into the file system of its sandbox: a directory or an archive, relative to the directory of
    /// results.
    pub kept: Option<String>,
    /// What went wrong around it, such as a cleanup step that failed, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Why results could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResultsError {
    /// The file cannot be read, or is too large.
    Io(io::Error),
    /// The file does not hold results.
    Invalid(serde_json::Error),
    /// The file has a format that is older than what is read.
    Older {
        /// The version of the format.
        format_version: u32,
    },
    /// A later version of memsample wrote the file, in a format that this one does not know.
    Newer {
        /// The version of the format.
        format_version: u32,
        /// The version of the program that wrote it.
        memsample_version: Option<String>,
    },
}

/// What is read before all else.
#[derive(Deserialize)]
struct Versions {
    format_version: u32,
    memsample_version: Option<String>,
}

impl Results {
    /// Reads the results of a run from its `results.json`. Unknown keys are ignored.
    ///
    /// # Errors
    ///
    /// See [`ResultsError`].
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        Self::read_file(File::open(path).map_err(ResultsError::Io)?)
    }

    /// Reads results from an open `results.json`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::read`].
    pub fn read_file(file: File) -> Result<Self, ResultsError> {
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(ResultsError::Io)?;
        if bytes.len() as u64 > MAX_BYTES {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB");
            return Err(ResultsError::Io(error));
        }
        Self::from_json(&bytes)
    }

    /// Reads results from the bytes of a `results.json`.
    ///
    /// # Errors
    ///
    /// [`ResultsError::Invalid`], [`ResultsError::Older`] and [`ResultsError::Newer`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ResultsError> {
        let versions: Versions = serde_json::from_slice(bytes).map_err(ResultsError::Invalid)?;
        let Versions { format_version, memsample_version } = versions;
        if format_version > FORMAT_VERSION {
            return Err(ResultsError::Newer { format_version, memsample_version });
        }
        if format_version < OLDEST_VERSION {
            return Err(ResultsError::Older { format_version });
        }
        serde_json::from_slice(bytes).map_err(ResultsError::Invalid)
    }

    /// Writes the results to a file, whole or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written. What was there before is as it was.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, &self.to_json()?)
    }

    /// Returns the results as one JSON object, as the file holds it.
    ///
    /// # Errors
    ///
    /// None is known: every key is a string and every number finite.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the results as one JSON object on one line, with the directory where they are.
    ///
    /// # Errors
    ///
    /// As [`to_json`](Self::to_json).
    pub fn to_json_line(&self, directory: &Path) -> serde_json::Result<Vec<u8>> {
        let run = Some(directory.display().to_string());
        let mut bytes = serde_json::to_vec(&Self { run, ..self.clone() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the largest peak of resident sets of each test, in bytes, by its name. A test whose memory was not
    /// measured is not in it.
    #[must_use]
    pub fn rss_peaks(&self) -> BTreeMap<String, u64> {
        let peak = |test: &TestResults| Some((test.name.clone(), test.rss_peak_bytes()?));
        self.tests.iter().filter_map(peak).collect()
    }
}

impl TestResults {
    /// Returns the largest peak of resident sets of its attempts, in bytes.
    #[must_use]
    pub fn rss_peak_bytes(&self) -> Option<u64> {
        let memories = self.attempts.iter().filter_map(|attempt| attempt.ended.memory.as_ref());
        memories.filter_map(|memory| memory.rss_peak_bytes).max()
    }

    /// Returns the attempts of each repetition, and how that ended.
    #[must_use]
    pub fn repetitions(&self) -> BTreeMap<u32, (Verdict, Vec<&AttemptResults>)> {
        let mut attempts: BTreeMap<u32, Vec<&AttemptResults>> = BTreeMap::new();
        for attempt in &self.attempts {
            attempts.entry(attempt.repetition).or_default().push(attempt);
        }
        let with_verdicts = attempts.into_iter().filter_map(|(repetition, attempts)| {
            let ends = attempts.iter().map(|it| (it.repetition, it.attempt, it.ended.outcome));
            let verdict = whole(ends, |&verdict| verdict, Verdict::Flaky)?;
            Some((repetition, (verdict, attempts)))
        });
        with_verdicts.collect()
    }
}

impl TestResults {
    /// Returns the attempt that decided how the test ended: the last one of the first repetition that ended so, or else the
    /// last of all.
    #[must_use]
    pub fn deciding(&self) -> Option<&AttemptResults> {
        let repetitions = self.repetitions();
        let decided = repetitions.values().find(|(verdict, _)| *verdict == self.ended.outcome);
        decided.and_then(|(_, attempts)| last(attempts)).or(self.attempts.last())
    }

    /// Returns the last attempt of each repetition: what was tried before ended before its time.
    #[must_use]
    pub fn last_attempts(&self) -> Vec<&AttemptResults> {
        self.repetitions().values().filter_map(|(_, attempts)| last(attempts)).collect()
    }
}

fn last<'a>(attempts: &[&'a AttemptResults]) -> Option<&'a AttemptResults> {
    attempts.iter().copied().max_by_key(|attempt| attempt.attempt)
}

impl EndResults {
    /// Returns whether an attempt did all that it does, so that what it used can be compared: what is cut short uses less.
    /// Above a budget it did, and that is what a comparison is to find.
    #[must_use]
    pub fn came_to_its_end(&self) -> bool {
        self.outcome.came_to_its_end(self.exit_code)
    }

    /// Describes why it ended so: the reason, and the line of its output that says more.
    pub(crate) fn why(&self) -> Option<String> {
        wording::joined(self.reason.as_deref(), self.message.as_deref())
    }
}

impl AttemptResults {
    /// Describes how an attempt of a flaky test failed.
    pub(crate) fn failure(&self) -> String {
        let why = self.ended.why().map_or(String::new(), |why| format!(": {why}"));
        format!("try {} was {}{why}", self.attempt, self.ended.outcome.word())
    }
}

impl fmt::Display for ResultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Invalid(error) => write!(
                f,
                "it does not hold the results of a run as `memsample run` writes them ({error}): name another run, or run \
                 the suite again"
            ),
            Self::Older { format_version } => write!(
                f,
                "it is of format version {format_version}, and this memsample reads from version {OLDEST_VERSION} on: run \
                 the suite again"
            ),
            Self::Newer { format_version, memsample_version } => {
                let by = memsample_version.as_ref();
                let by = by.map_or(String::new(), |version| format!(" by memsample {version}"));
                write!(
                    f,
                    "it was written{by} in format version {format_version}, and this memsample reads up to version \
                     {FORMAT_VERSION}: use a newer memsample"
                )
            }
        }
    }
}

impl std::error::Error for ResultsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Displayed as they are.
            Self::Io(error) => std::error::Error::source(error),
            Self::Invalid(error) => std::error::Error::source(error),
            Self::Older { .. } | Self::Newer { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the repetition and the attempt that decided, of attempts with their outcomes.
    #[track_caller]
    fn check(whole: &str, attempts: &[(u32, u32, &str)], expected: (u32, u32)) {
        let attempts: Vec<String> = attempts
            .iter()
            .map(|(repetition, attempt, outcome)| {
                format!(
                    r#"{{"repetition": {repetition}, "attempt": {attempt}, "outcome": "{outcome}"}}"#
                )
            })
            .collect();
        let test = format!(
            r#"{{"name": "a", "outcome": "{whole}", "attempts": [{}]}}"#,
            attempts.join(",")
        );
        let test: TestResults = serde_json::from_str(&test).unwrap();
        let deciding = test.deciding().unwrap();
        assert_eq!((deciding.repetition, deciding.attempt), expected);
    }

    #[test]
    fn the_last_attempt_of_the_first_repetition_that_ended_so_decides() {
        check("failed", &[(1, 1, "failed"), (2, 1, "failed"), (3, 1, "passed")], (1, 1));
        check("failed", &[(1, 1, "passed"), (2, 1, "failed"), (2, 2, "failed")], (2, 2));
        check("flaky", &[(1, 1, "passed"), (2, 1, "failed"), (2, 2, "passed")], (2, 2));
        check("passed", &[(1, 1, "passed"), (2, 1, "passed")], (1, 1));
    }
}
