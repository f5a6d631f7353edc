//! What happens while a suite runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::results::{Abort, Attempt, StepResult, TestResult};

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
    /// What the setup of a test uses now; about once a second.
    SetupProgress {
        /// Of which one.
        test: Attempt,
        /// The sum of the resident sets of its processes.
        rss_bytes: u64,
    },
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
    TestFinished {
        /// How this attempt ended.
        result: Box<TestResult>,
        /// Whether the test is tried again, so that this is not how the test ended.
        is_retried: bool,
    },
    /// The setup or the teardown of the suite begins.
    StepStarted {
        /// `setup` or `teardown`.
        name: &'static str,
    },
    /// What the setup or the teardown of the suite uses now; about once a second.
    StepProgress {
        /// `setup` or `teardown`.
        name: String,
        /// The sum of the resident sets of its processes.
        rss_bytes: u64,
    },
    /// The setup or the teardown of the suite has ended, or could not be started.
    StepFinished(Box<StepResult>),
    /// Tests that are not run, because the suite ended before: one for each repetition, all for the same reason.
    RestNotRun(Vec<TestResult>),
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
