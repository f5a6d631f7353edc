//! The machines of a lab and what they do, as `memsample-fleet board` writes it into a file again and again.

use std::io::Read as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use memsample_beneath::open_regular;
use serde::{Deserialize, Serialize};

/// The version of the file.
const FORMAT: u32 = 1;
/// A larger file holds something else.
const MAX_BYTES: u64 = 16 << 20;
/// What is older is not what is now.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(30);

/// What a file says of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fleet {
    format: u32,
    /// When it was written, by the clock of the database.
    pub(crate) at: Timestamp,
    pub(crate) workers: Vec<Worker>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) running: Vec<Running>,
    pub(crate) jobs: Vec<Job>,
}

/// A machine, or a device, that runs suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) worker: String,
    /// `idle`, `busy`, `left` or `gone`; of a device that has no worker, what is done with it: `checking`,
    /// `provisioning`, `recovering` or `aside`.
    pub(crate) state: String,
    pub(crate) labels: Vec<String>,
    /// `None` of a device that never had a worker.
    pub(crate) memsample_version: Option<String>,
    /// Of the file system of its directory.
    pub(crate) free_bytes: Option<i64>,
    /// What it runs.
    pub(crate) run_id: Option<String>,
    /// How long ago it was heard of, in seconds.
    pub(crate) seen_s: f64,
    pub(crate) note: Option<String>,
}

/// Runs that wait for a worker with certain labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// All of them are needed; none: any worker.
    pub(crate) labels: Vec<String>,
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    /// Workers that are there and have all labels.
    pub(crate) workers: u64,
}

/// A run that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) run_id: String,
    pub(crate) suite: String,
    pub(crate) worker: String,
    pub(crate) attempt: u64,
    /// The tests of the suite; `None` until it is read.
    pub(crate) tests: Option<u64>,
    pub(crate) tests_ended: u64,
    pub(crate) duration_s: f64,
}

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) job_id: String,
    pub(crate) suite: String,
    pub(crate) labels: Vec<String>,
    /// Its runs, in words: `3 passed, 1 running`.
    pub(crate) state: String,
    pub(crate) age_s: f64,
}

impl Fleet {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let named = |what: String| format!("The fleet's file `{}` {what}", path.display());
        let cannot = |error: std::io::Error| {
            named(format!("cannot be read: {error}. `memsample-fleet board` keeps it."))
        };
        let mut text = Vec::new();
        let file = open_regular(path).map_err(cannot)?;
        file.take(MAX_BYTES).read_to_end(&mut text).map_err(cannot)?;
        let fleet: Self = serde_json::from_slice(&text).map_err(|error| {
            named(format!("is none that `memsample-fleet board` writes: {error}."))
        })?;
        match fleet.format {
            FORMAT => Ok(fleet),
            other => Err(named(format!("has the format {other}: this program reads {FORMAT}."))),
        }
    }

    /// Returns how old it is, where that is so old that it is not what is now.
    pub(crate) fn stale(&self) -> Option<SignedDuration> {
        let age = Timestamp::now().duration_since(self.at);
        (age.abs() > MAX_AGE).then_some(age)
    }
}
