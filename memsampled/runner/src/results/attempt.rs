//! The result of one attempt, with everything that the runner knows of it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::budget::BudgetResult;
use super::group::GroupUse;
use super::leak::LeakResult;
use super::memory::{Memory, RoleMemory};
use super::outcome::Outcome;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// Which attempt.
    pub test: Attempt,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence more, such as which budget was exceeded by how much.
    pub reason: Option<String>,
    /// The line of its output that says most about why it did not pass; `None` where that is said otherwise.
    #[serde(default)]
    pub message: Option<String>,
    /// When it began; `None` where it was not started.
    pub started: Option<Timestamp>,
    /// From its first instruction until its last process ended; with cleanup steps, until those began.
    pub duration: Duration,
    /// The exit code of its program, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its program.
    pub signal: Option<i32>,
    /// The sandbox that it had, in the words of a suite file; empty where it was not started.
    pub sandbox: String,
    /// Processes that it left behind. The runner killed them.
    pub left_over_processes: Vec<LeftOverProcess>,
    /// Why there may be more of these, such as a directory of the kernel that could not be listed.
    #[serde(default)]
    pub unlisted: Option<String>,
    /// Bytes of shared memory that it left behind; `None` where its sandbox has no shared memory of its own, so that
    /// nobody can tell.
    pub left_bytes: Option<u64>,
    /// The file with its standard output, relative to the directory of results.
    pub stdout: Option<PathBuf>,
    /// The file with its standard error, relative to the directory of results.
    pub stderr: Option<PathBuf>,
    /// Bytes of output that were not kept because the log was full.
    pub output_cut_bytes: u64,
    /// Files that were kept, relative to the directory of results.
    pub artifacts: Vec<PathBuf>,
    /// What its sandbox had written, kept because it failed, relative to the directory of results.
    pub kept: Option<PathBuf>,
    /// What went wrong around it, such as a cleanup step that failed, a sentence each.
    pub notes: Vec<String>,
    /// The words by which it can be selected.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The recording that has its processes, relative to the directory of results.
    #[serde(default)]
    pub recording: Option<PathBuf>,
    /// The memory that it used; `None` until the recording is closed, and where nothing was sampled.
    #[serde(skip)]
    pub memory: Option<Memory>,
    /// The memory that it used by role, largest first; empty where [`memory`](Self::memory) is `None`.
    #[serde(skip)]
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
}

/// Names one attempt of a test.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The name of the test.
    pub test: String,
    /// Which of its repetitions, from 1.
    pub repetition: u32,
    /// Which attempt of this repetition, from 1: above 1 are retries.
    pub attempt: u32,
}

/// A process that outlived its test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOverProcess {
    /// Its process id.
    pub pid: i32,
    /// Its command name.
    pub comm: String,
    /// Its resident set when the runner found it, in bytes; `None` where it could not be read.
    pub rss_bytes: Option<u64>,
    /// The process id of an earlier one in the list that has the same memory map, as after `clone(CLONE_VM)`: the memory of
    /// the two counts once. Null where it has a map of its own, and where the kernel does not tell.
    #[serde(default)]
    pub shares_memory_with: Option<i32>,
    /// Memory of memfds and of removed files in `/dev/shm` that it has open, in bytes, whether it maps them or not; of a file
    /// that several have open, at the first of them. `None` where its descriptors could not be listed.
    #[serde(default)]
    pub held_bytes: Option<u64>,
}

impl TestResult {
    /// Returns the result of an attempt that was not run.
    #[must_use]
    pub fn not_run(test: Attempt, outcome: Outcome) -> Self {
        Self {
            test,
            outcome,
            reason: None,
            message: None,
            started: None,
            duration: Duration::ZERO,
            exit_code: None,
            signal: None,
            sandbox: String::new(),
            left_over_processes: Vec::new(),
            unlisted: None,
            left_bytes: None,
            stdout: None,
            stderr: None,
            output_cut_bytes: 0,
            artifacts: Vec::new(),
            kept: None,
            notes: Vec::new(),
            tags: Vec::new(),
            recording: None,
            memory: None,
            roles: Vec::new(),
            group: None,
            budgets: Vec::new(),
            leaks: Vec::new(),
            memory_limit_bytes: None,
        }
    }
}
