//! A suite, its tests, and the commands around them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::budget::{Budget, LeakRule};
use super::sandbox::Sandbox;

/// A test that may take longer says so.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Time to write a log after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Tests, in the order in which they are run.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The name, which results and JUnit carry.
    pub name: String,
    /// The directory of the suite file: relative paths in it begin here.
    pub directory: PathBuf,
    /// Run before the first test; if it fails, no test is started.
    pub setup: Option<Step>,
    /// Run after the last test, also when tests failed or were aborted.
    pub teardown: Option<Step>,
    /// Whether the setup was run when the suite was read, because it makes what the tests are listed of.
    /// `setup` is without it then; who does not run the suite runs the teardown.
    pub is_set_up: bool,
    /// How long the whole suite may take.
    pub timeout: Option<Duration>,
    /// The tests. Names are unique.
    pub tests: Vec<Test>,
    /// What a reader must know, such as the parts of the file that are not honoured.
    pub notes: Vec<String>,
}

/// A command around tests, of the suite or of one test.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is run.
    pub program: Program,
    /// How long it may take.
    pub timeout: Duration,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program and its arguments, as they are.
    Command(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Unique in the suite. At most 256 bytes without control characters; a slash is allowed, and no
    /// path is ever made of it unchecked.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// Run before the program, in the same sandbox, with the same rights; the test is not started
    /// if one fails.
    pub setup: Vec<Step>,
    /// Run after the program, whatever became of it.
    pub cleanup: Vec<Step>,
    /// Where it is run.
    pub cwd: PathBuf,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may take to end after SIGTERM, before everything it started is killed.
    pub grace: Duration,
    /// The user who runs it; `None`: who runs the runner.
    pub run_as: Option<String>,
    /// What is between it and the machine; `None`: the best that works here, see `memsample doctor`.
    pub sandbox: Option<Sandbox>,
    /// Whether it may use the network, where the sandbox can tell.
    pub network: bool,
    /// The most memory that its control group may have.
    pub memory_limit_bytes: Option<u64>,
    /// The most CPU time that all its processes together may use while its program runs.
    pub cpu_limit: Option<Duration>,
    /// What its memory is held to.
    pub budgets: Vec<Budget>,
    /// Whether it is judged for leaks; `None`: it is not.
    pub leak: Option<LeakRule>,
    /// The exit codes that mean success.
    pub expect_exit: Vec<u8>,
    /// Words by which tests are selected.
    pub tags: Vec<String>,
    /// Globs of files to keep, relative to `cwd`.
    pub artifacts: Vec<String>,
    /// The environment variable that tells its commands a directory of their own; all files in it are kept, too.
    pub artifacts_variable: Option<String>,
    /// How often it is run.
    pub repeat: u32,
    /// How often it is run again if it fails; passing then is `flaky`.
    pub retries: u32,
    /// Names of tests that must have passed before.
    pub requires: Vec<String>,
}

impl Test {
    /// Makes a test of a program with what holds where a suite file says nothing more.
    #[must_use]
    pub fn new(name: impl Into<String>, program: Program, cwd: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program,
            setup: Vec::new(),
            cleanup: Vec::new(),
            cwd: cwd.into(),
            env: BTreeMap::new(),
            timeout: TEST_TIMEOUT,
            grace: GRACE,
            run_as: None,
            sandbox: None,
            network: false,
            memory_limit_bytes: None,
            cpu_limit: None,
            budgets: Vec::new(),
            leak: None,
            expect_exit: vec![0],
            tags: Vec::new(),
            artifacts: Vec::new(),
            artifacts_variable: None,
            repeat: 1,
            retries: 0,
            requires: Vec::new(),
        }
    }
}
