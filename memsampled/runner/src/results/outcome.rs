//! How an attempt, a test and a suite ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an attempt ended, with what is known of it; its [`Verdict`] is the same in one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// It exited with an expected exit code, within its budgets.
    Passed,
    /// It failed, and passed when it was tried again. Only of a test as a whole.
    Flaky,
    /// It exited with another exit code.
    Failed {
        /// The exit code.
        exit_code: i32,
    },
    /// A signal ended it that did not come from the runner.
    Signaled {
        /// The signal.
        signal: i32,
    },
    /// It did not end in its time, and was killed.
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// It used more CPU time than it may, and was killed if it did not end by itself.
    OutOfCpuTime {
        /// The CPU time it had.
        limit: Duration,
    },
    /// The kernel killed one of its processes because its control group reached its own limit.
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The kernel killed one of its processes because the machine, or a group above, had no memory.
    HostOutOfMemory,
    /// It would have passed, but its memory was above a budget that fails.
    OverBudget,
    /// It would have passed, but its memory leaks.
    Leaked,
    /// It would have passed, but left processes behind, or memory in files of `/dev/shm` and `/tmp`.
    LeftOver,
    /// The runner ended it because the suite was aborted.
    Aborted,
    /// It could not be started.
    NotStarted {
        /// Why, as the end of a sentence.
        reason: String,
    },
    /// It was not tried: a test that it requires did not pass or was not selected, or the suite was
    /// cut short before.
    Skipped {
        /// Why, as the end of a sentence.
        reason: String,
    },
}

/// How an attempt or a test ended, in one word: `docs/verdicts.md` defines them. In the order of the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// [`Outcome::Aborted`].
    Aborted,
    /// [`Outcome::Failed`].
    Failed,
    /// [`Outcome::Flaky`].
    Flaky,
    /// [`Outcome::HostOutOfMemory`].
    HostOutOfMemory,
    /// [`Outcome::Leaked`].
    Leaked,
    /// [`Outcome::LeftOver`].
    LeftOver,
    /// [`Outcome::NotStarted`].
    NotStarted,
    /// [`Outcome::OutOfCpuTime`].
    OutOfCpuTime,
    /// [`Outcome::OutOfMemory`].
    OutOfMemory,
    /// [`Outcome::OverBudget`].
    OverBudget,
    /// [`Outcome::Passed`].
    Passed,
    /// [`Outcome::Signaled`].
    Signaled,
    /// [`Outcome::Skipped`].
    Skipped,
    /// [`Outcome::TimedOut`].
    TimedOut,
}

/// Why a suite was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A signal, such as Ctrl-C or the abort of a CI server.
    Signal(i32),
    /// The time of the suite was over.
    Timeout,
    /// A test failed and `--fail-fast` was given.
    FailFast,
    /// The suite's setup failed.
    Setup,
    /// The recording or the results could not be written.
    Disk {
        /// Because the disk was full.
        full: bool,
    },
}

/// Why a suite was cut short, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortCause {
    /// [`Abort::Signal`].
    Signal,
    /// [`Abort::Timeout`].
    Timeout,
    /// [`Abort::FailFast`].
    FailFast,
    /// [`Abort::Setup`].
    Setup,
    /// [`Abort::Disk`].
    Disk,
}

/// What became of a suite, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuiteOutcome {
    /// Every test passed, if perhaps not at first, or was skipped.
    Passed,
    /// A test did not.
    Failed,
    /// It did not come to its end: a signal, its time, its setup or the disk prevented it.
    Aborted,
}

impl Outcome {
    /// Returns the same in one word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Passed => Verdict::Passed,
            Self::Flaky => Verdict::Flaky,
            Self::Failed { .. } => Verdict::Failed,
            Self::Signaled { .. } => Verdict::Signaled,
            Self::TimedOut { .. } => Verdict::TimedOut,
            Self::OutOfCpuTime { .. } => Verdict::OutOfCpuTime,
            Self::OutOfMemory { .. } => Verdict::OutOfMemory,
            Self::HostOutOfMemory => Verdict::HostOutOfMemory,
            Self::OverBudget => Verdict::OverBudget,
            Self::Leaked => Verdict::Leaked,
            Self::LeftOver => Verdict::LeftOver,
            Self::Aborted => Verdict::Aborted,
            Self::NotStarted { .. } => Verdict::NotStarted,
            Self::Skipped { .. } => Verdict::Skipped,
        }
    }

    /// Returns the word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.verdict().word()
    }

    /// Returns whether the suite is as it should be in spite of it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.verdict().is_success()
    }
}

impl Verdict {
    /// Returns whether what ended so, with this exit code of its program, did all that it does, so that what it used can be
    /// compared: see [`EndResults::came_to_its_end`](super::EndResults::came_to_its_end).
    #[must_use]
    pub fn came_to_its_end(self, exit_code: Option<i32>) -> bool {
        match self {
            Self::Passed | Self::Flaky => true,
            Self::OverBudget | Self::Leaked | Self::LeftOver => exit_code == Some(0),
            _ => false,
        }
    }

    /// Returns the word, as `results.json` has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed => "failed",
            Self::Signaled => "signaled",
            Self::TimedOut => "timed_out",
            Self::OutOfCpuTime => "out_of_cpu_time",
            Self::OutOfMemory => "out_of_memory",
            Self::HostOutOfMemory => "host_out_of_memory",
            Self::OverBudget => "over_budget",
            Self::Leaked => "leaked",
            Self::LeftOver => "left_over",
            Self::Aborted => "aborted",
            Self::NotStarted => "not_started",
            Self::Skipped => "skipped",
        }
    }

    /// Returns whether the suite is as it should be in spite of it.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Passed | Self::Flaky | Self::Skipped)
    }

    /// Returns the same as the end of a sentence: `was ended by a signal`.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "passed when it was tried again",
            Self::Failed => "failed",
            Self::Signaled => "was ended by a signal",
            Self::TimedOut => "did not end in its time",
            Self::OutOfCpuTime => "used more CPU time than it may",
            Self::OutOfMemory => "reached its memory limit",
            Self::HostOutOfMemory => "was killed because the machine had no memory left",
            Self::OverBudget => "was above its budget",
            Self::Leaked => "leaked memory",
            Self::LeftOver => "left something behind",
            Self::Aborted => "was aborted",
            Self::NotStarted => "could not be started",
            Self::Skipped => "was skipped",
        }
    }

    /// All, in the order in which they are counted for people: what wants attention comes first.
    pub const BY_ATTENTION: [Self; 14] = [
        Self::Failed,
        Self::Signaled,
        Self::TimedOut,
        Self::OutOfCpuTime,
        Self::OutOfMemory,
        Self::HostOutOfMemory,
        Self::OverBudget,
        Self::Leaked,
        Self::LeftOver,
        Self::Aborted,
        Self::NotStarted,
        Self::Flaky,
        Self::Skipped,
        Self::Passed,
    ];

    /// Returns how bad it is: a test as a whole ends as the worst of its repetitions.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Skipped => 1,
            Self::Flaky => 2,
            _ => 3,
        }
    }
}

impl Abort {
    /// Returns the same in one word.
    #[must_use]
    pub fn cause(self) -> AbortCause {
        match self {
            Self::Signal(_) => AbortCause::Signal,
            Self::Timeout => AbortCause::Timeout,
            Self::FailFast => AbortCause::FailFast,
            Self::Setup => AbortCause::Setup,
            Self::Disk { .. } => AbortCause::Disk,
        }
    }

    /// Returns what results tell of it, which do not say whether the disk was full; `None` of a signal without its number.
    #[must_use]
    pub fn of(cause: AbortCause, signal: Option<i32>) -> Option<Self> {
        Some(match cause {
            AbortCause::Signal => Self::Signal(signal?),
            AbortCause::Timeout => Self::Timeout,
            AbortCause::FailFast => Self::FailFast,
            AbortCause::Setup => Self::Setup,
            AbortCause::Disk => Self::Disk { full: false },
        })
    }
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
