//! A suite: the tests of a release, and how each shall be run.
//!
//! The readers of TOML and of directories in UTAH's format have types of their own; everything behind them knows
//! only [`Suite`].

mod document;
mod policy;
mod rules;
mod settings;
mod suite_file;
mod toml;
mod utah;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use suite_file::SUITE_FILE;

pub use memsample_input::Problem;
pub use policy::{Policy, PolicyBudget};
pub use suite_file::SuiteError;
pub use utah::{Discover, Tree};

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
    /// How long the whole suite may take.
    pub timeout: Option<Duration>,
    /// The tests. Names are unique.
    pub tests: Vec<Test>,
    /// What a reader must know, such as the parts of the file that are not honoured.
    pub notes: Vec<String>,
}

impl Suite {
    /// Reads a suite: a TOML file, or a directory in the format of UTAH, the Ubuntu Test Automation
    /// Harness. `docs/suite.md` describes both.
    ///
    /// Of a directory with a `tslist.auto`, the command in it that lists the tests is run by `discover`,
    /// such as [`run::discover`](crate::run::discover()).
    ///
    /// # Errors
    ///
    /// If it cannot be read or understood; all problems are reported at once, each with file, line and
    /// column, and with what to write instead.
    pub fn load(path: &Path, discover: &Discover<'_>) -> Result<Self, SuiteError> {
        if path.is_dir() {
            return Ok(utah::read(path, &utah::Disk(discover))?);
        }
        Self::from_toml(&SUITE_FILE.read(path)?, path)
    }

    /// Reads a directory in UTAH's format, wherever its files are.
    ///
    /// # Errors
    ///
    /// As [`Suite::load`].
    pub fn from_utah(root: &Path, tree: &dyn Tree) -> Result<Self, SuiteError> {
        Ok(utah::read(root, tree)?)
    }

    /// Reads a suite from the bytes of a TOML file. `path` names it in errors, and relative paths in it
    /// begin in its directory.
    ///
    /// # Errors
    ///
    /// As [`Suite::load`], but for what comes of reading the file.
    pub fn from_toml(bytes: &[u8], path: &Path) -> Result<Self, SuiteError> {
        Ok(toml::parse(bytes, path)?)
    }
}

impl Sandbox {
    /// Reads the word that a suite file or an option has for a sandbox: `none`, `pidns`, `bwrap`,
    /// `bwrap:ROOT` or `lxc:NAME`; `None` where it is none of them.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        settings::parse_sandbox(word)
    }
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
    /// What its memory is held to.
    pub budgets: Vec<Budget>,
    /// The exit codes that mean success.
    pub expect_exit: Vec<u8>,
    /// Words by which tests are selected.
    pub tags: Vec<String>,
    /// Globs of files to keep, relative to `cwd`.
    pub artifacts: Vec<String>,
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
            timeout: settings::TEST_TIMEOUT,
            grace: settings::GRACE,
            run_as: None,
            sandbox: None,
            network: false,
            memory_limit_bytes: None,
            budgets: Vec::new(),
            expect_exit: vec![0],
            tags: Vec::new(),
            artifacts: Vec::new(),
            repeat: 1,
            retries: 0,
            requires: Vec::new(),
        }
    }
}

/// What is between a test and the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing but a process group, and a control group where one can be had.
    None,
    /// A pid namespace of its own: nothing survives the test.
    PidNamespace,
    /// bubblewrap: the host's root read-only, a `/tmp` of its own, no network unless asked for.
    Bubblewrap {
        /// Another root than the host's.
        root: Option<PathBuf>,
    },
    /// A container for each test, with an overlay on a root file system.
    Lxc {
        /// The container whose root file system is used.
        name: String,
    },
}

/// A bound on memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Of which processes of the test; `None`: the sum over all.
    pub role: Option<String>,
    /// What is bounded.
    pub quantity: Quantity,
    /// The bound: bytes, or bytes a minute for [`Quantity::Growth`].
    pub limit_bytes: u64,
    /// What happens above it.
    pub action: Action,
}

/// What a budget bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The peak of the sum of resident sets.
    RssPeak,
    /// The peak of the sum of proportional sets.
    PssPeak,
    /// The peak of the sum of anonymous memory.
    AnonPeak,
    /// Growth of anonymous memory, in bytes a minute.
    Growth,
    /// Memory of processes that are left after the test.
    LeftOver,
}

/// What happens above a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The report says so.
    Warn,
    /// The test is `over_budget`.
    Fail,
}
