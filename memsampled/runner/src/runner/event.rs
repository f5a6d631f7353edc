use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::suite::Budget;

/// What happens while a suite runs, in the order in which it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The recording has begun, and the first test is about to.
    SuiteStarted {
        /// The name of the suite.
        suite: String,
        /// How many attempts are planned, retries not included.
        tests: usize,
        /// Where the recording and all results go.
        directory: PathBuf,
    },
    /// Something that a reader must know, such as a sandbox that does not work here.
    Note(String),
    /// A test is about to execute its first instruction.
    TestStarted {
        /// Which one.
        test: Attempt,
        /// The sandbox that was made, in the words of a suite file: `none`, `pidns`, `bwrap`, `lxc:NAME`.
        sandbox: String,
    },
    /// What running tests use now; about once a second for each.
    TestProgress {
        /// Which one.
        test: Attempt,
        /// The sum of the resident sets of its processes.
        rss_bytes: u64,
    },
    /// A test and everything that it started has ended.
    TestFinished(Box<TestResult>),
    /// All tests have ended and the recording is closed. Their memory is in here, since it is known
    /// only now; the results are in the order of the suite.
    SuiteFinished {
        /// One for each attempt.
        results: Vec<TestResult>,
        /// Why not every test was run; `None` where all were.
        aborted: Option<Abort>,
        /// How long it took.
        duration: Duration,
    },
}

/// One run of a test.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The name of the test.
    pub test: String,
    /// Which of its repetitions, from 1.
    pub repetition: u32,
    /// How often it was tried in this repetition, from 1: above 1 are retries.
    pub attempt: u32,
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
        /// For want of room.
        full: bool,
    },
}

/// How an attempt ended: one word each, defined in `docs/verdicts.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// It ended by itself with an expected exit code, and within its budgets.
    Passed,
    /// It failed, and passed when it was tried again. Only of a test as a whole.
    Flaky,
    /// It ended by itself with another exit code.
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
    /// The kernel killed one of its processes because its control group reached its own limit.
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The kernel killed one of its processes because the machine, or a group above, had no memory.
    HostOutOfMemory,
    /// It would have passed, but its memory was above a budget that fails.
    OverBudget,
    /// It would have passed, but left processes, or memory in files of `/dev/shm` and `/tmp`.
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

impl Outcome {
    /// Returns the word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed { .. } => "failed",
            Self::Signaled { .. } => "signaled",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::HostOutOfMemory => "host_out_of_memory",
            Self::OverBudget => "over_budget",
            Self::LeftOver => "left_over",
            Self::Aborted => "aborted",
            Self::NotStarted { .. } => "not_started",
            Self::Skipped { .. } => "skipped",
        }
    }

    /// Says whether the suite is as it should be in spite of it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Passed | Self::Flaky | Self::Skipped { .. })
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestResult {
    /// Which one.
    pub test: Attempt,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence more, such as which budget was exceeded by how much.
    pub reason: Option<String>,
    /// When it began; `None` where it was not started.
    pub started: Option<Timestamp>,
    /// From its first instruction until its last process ended; with cleanup steps, until those began.
    pub duration: Duration,
    /// The exit code of its program, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its program.
    pub signal: Option<i32>,
    /// The sandbox that it had, in the words of a suite file.
    pub sandbox: String,
    /// Processes that it left behind, which were killed.
    pub left_over_processes: Vec<LeftOverProcess>,
    /// Bytes of shared memory that it left; `None` where its sandbox has none of its own, so that
    /// nobody can tell.
    pub left_bytes: Option<u64>,
    /// What it wrote to its standard output and standard error, relative to the directory of results.
    pub stdout: Option<PathBuf>,
    /// The same for its standard error.
    pub stderr: Option<PathBuf>,
    /// Bytes of output that were not kept, for the log was full.
    pub output_cut_bytes: u64,
    /// Files that were kept, relative to the directory of results.
    pub artifacts: Vec<PathBuf>,
    /// What its sandbox had written, kept since it failed, relative to the directory of results.
    pub kept: Option<PathBuf>,
    /// What went wrong around it, such as a cleanup step that failed, a sentence each.
    pub notes: Vec<String>,
    /// What it used; `None` until the recording is closed, and where nothing was sampled.
    #[serde(skip)]
    pub memory: Option<TestMemory>,
    /// What became of its budgets.
    #[serde(default)]
    pub budgets: Vec<BudgetResult>,
}

/// A process that outlived its test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOverProcess {
    /// Its process id.
    pub pid: i32,
    /// Its command name.
    pub comm: String,
    /// Its resident set when it was found.
    pub rss_bytes: Option<u64>,
}

/// A number of bytes that is known within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundedBytes {
    /// It was this at least.
    pub lower: u64,
    /// It was this at most; `None` where nothing bounds it.
    pub upper: Option<u64>,
}

/// The peak of a sum over the processes of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The largest sum at one instant.
    pub peak: BoundedBytes,
    /// When that was.
    pub at: Timestamp,
}

/// What a test used, from the recording.
#[derive(Clone, Debug, Default)]
pub struct TestMemory {
    /// Of resident sets; shared pages count once for each process.
    pub rss: Option<Sum>,
    /// Of proportional sets, of those processes whose set was read at the same tick: a lower bound.
    pub pss: Option<Sum>,
    /// Of anonymous memory.
    pub anon: Option<Sum>,
    /// Growth of anonymous memory in bytes a minute, where the test was long enough to tell.
    pub growth_bytes_per_minute: Option<i64>,
    /// By role, largest first.
    pub roles: Vec<RoleMemory>,
    /// Processes that belonged to it.
    pub processes: u64,
    /// Of these, those that are known only by their exit record.
    pub unsampled: u64,
    /// Process images of which no upper bound is known: one of them leaves the sums without one.
    pub unbounded_images: u64,
    /// Rows of samples.
    pub samples: u64,
    /// Planned instants at which nothing was sampled, or too late.
    pub gaps: u64,
    /// CPU time of all its processes, as far as it was read; `None` where it was of none.
    pub cpu: Option<Duration>,
    /// Page faults without I/O; the same holds.
    pub minflt: Option<u64>,
    /// Page faults with I/O; the same holds.
    pub majflt: Option<u64>,
}

impl TestMemory {
    /// Says why there is no peak of proportional sets, as the end of a sentence; `None` where there is one.
    #[must_use]
    pub fn pss_missing(&self) -> Option<&'static str> {
        match (self.pss, self.samples) {
            (Some(_), _) => None,
            (None, 0) => Some("none of its processes lived long enough to be sampled"),
            (None, _) => Some("none of its processes was read for it before it ended"),
        }
    }
}

/// What the processes of one role used together.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleMemory {
    /// The role.
    pub role: String,
    /// The peak of the sum of their resident sets.
    pub rss_peak: BoundedBytes,
    /// How many processes that were.
    pub processes: u64,
}

/// What became of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetResult {
    /// The budget.
    pub budget: Budget,
    /// What was measured; `None` where nothing was.
    pub measured: Option<BoundedBytes>,
    /// What that means.
    pub verdict: BudgetVerdict,
}

/// Whether a budget was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetVerdict {
    /// The upper bound is not above it.
    Kept,
    /// The lower bound is above it.
    Exceeded,
    /// The bounds straddle it, or there is no measurement.
    CannotTell,
}
