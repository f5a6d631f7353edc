//! The result of a step of the suite itself: its setup or its teardown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::outcome::Verdict;
use super::wording;

/// What became of a step of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Which one: `setup` or `teardown`.
    pub name: String,
    /// How it ended: `passed`, `failed`, `signaled`, `timed_out`, `aborted` or `not_started`.
    pub outcome: Verdict,
    /// For people: why it ended so.
    pub reason: Option<String>,
    /// For people: the line of its output that says most about why it did not pass.
    pub message: Option<String>,
    /// The exit code of its program, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its program.
    pub signal: Option<i32>,
    /// How long it took, in nanoseconds; `None` where it was not started.
    pub duration_ns: Option<u64>,
    /// The file with its standard output, relative to the directory of results.
    pub stdout: Option<PathBuf>,
    /// The file with its standard error, relative to the directory of results.
    pub stderr: Option<PathBuf>,
    /// Bytes of output that were not kept.
    pub output_cut_bytes: u64,
}

impl StepResult {
    /// Describes it in a sentence: `the setup of the suite failed: exit code 2: main.c:4:9: error: …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (name, how) = (&self.name, self.outcome.phrase());
        let why = wording::joined(self.reason.as_deref(), self.message.as_deref());
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        format!("the {name} of the suite {how}{why}")
    }
}
