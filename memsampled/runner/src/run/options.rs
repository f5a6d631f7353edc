//! How a suite is run.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use memsample::{RecorderOptions, SamplerOptions};

use crate::plan::Selection;
use crate::sandbox::{Keep, LXC_PATH};
use crate::suite::{Policy, Sandbox, Test};

/// How a suite is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Where the recording and all results go. Made if it is not there; must be empty unless the run
    /// is resumed.
    pub directory: PathBuf,
    /// A program that calls [`internal_program`](crate::sandbox::internal_program()) first: the processes around a test are made of it.
    pub launcher: PathBuf,
    /// How many tests run at once, at most.
    pub jobs: NonZeroUsize,
    /// How often each test is run, instead of what the suite says.
    pub repeat: Option<u32>,
    /// How often single tests are run, by name, instead of what `repeat` and the suite say.
    pub repeats: BTreeMap<String, u32>,
    /// How often each test is tried again, instead of what the suite says.
    pub retries: Option<u32>,
    /// Which tests are run.
    pub selection: Selection,
    /// Whether the first test that does not succeed ends the suite.
    pub fail_fast: bool,
    /// Whether to resume a run that was cut short, after the last attempt that ended.
    pub resume: bool,
    /// How what the sandbox of a failed test wrote is kept; it is not if `None`.
    pub keep_failed: Option<Keep>,
    /// The sandbox of tests for which the suite names none; `None`: the best that works here.
    pub sandbox: Option<Sandbox>,
    /// Where containers are whose root file systems tests use.
    pub lxc_path: PathBuf,
    /// Whether a test whose sandbox does not work here is run with less, or refused.
    pub degrade: bool,
    /// How memory is recorded.
    pub recorder: RecorderOptions,
    /// How processes are read; what the recorder's options say of that does not count.
    pub sampler: SamplerOptions,
    /// Budgets and rules about leaks beside those of the suite.
    pub policy: Policy,
    /// The largest sum of resident sets of each test in an earlier run, by name, in bytes.
    pub predicted_bytes: BTreeMap<String, u64>,
    /// Bytes that are kept of each stream of a test.
    pub output_limit_bytes: u64,
    /// Tasks that a test may have at once, where the pids controller can be had.
    pub processes_max: Option<u64>,
    /// How long a process may outlive its test before it counts as left over.
    pub settle: Duration,
}

impl RunOptions {
    /// Bytes that are kept of a stream by default: more than a person reads, less than a disk minds.
    pub const OUTPUT_LIMIT_BYTES: u64 = 64 << 20;
    /// Tasks of a test by default: more than any build has, fewer than stop a machine.
    pub const PROCESSES_MAX: u64 = 4096;
    /// How long a process may outlive its test by default: the last of a pipeline, for example, ends a moment after the
    /// first.
    pub const SETTLE: Duration = Duration::from_millis(250);

    /// Returns how often a test is run.
    pub(crate) fn repeats_of(&self, test: &Test) -> u32 {
        self.repeats.get(&test.name).copied().or(self.repeat).unwrap_or(test.repeat)
    }

    /// Returns how often a test is run again if it fails.
    pub(crate) fn retries_of(&self, test: &Test) -> u32 {
        self.retries.unwrap_or(test.retries)
    }

    /// Runs all tests one after the other, with the best sandbox that works here, and refuses what
    /// does not work.
    #[must_use]
    pub fn new(directory: PathBuf, launcher: PathBuf) -> Self {
        Self {
            directory,
            launcher,
            jobs: NonZeroUsize::MIN,
            repeat: None,
            repeats: BTreeMap::new(),
            retries: None,
            selection: Selection::default(),
            fail_fast: false,
            resume: false,
            keep_failed: None,
            sandbox: None,
            lxc_path: PathBuf::from(LXC_PATH),
            degrade: false,
            recorder: RecorderOptions::new(),
            sampler: SamplerOptions::default(),
            policy: Policy::default(),
            predicted_bytes: BTreeMap::new(),
            output_limit_bytes: Self::OUTPUT_LIMIT_BYTES,
            processes_max: Some(Self::PROCESSES_MAX),
            settle: Self::SETTLE,
        }
    }
}
