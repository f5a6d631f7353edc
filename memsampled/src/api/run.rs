use std::collections::BTreeMap;

use jiff::Timestamp;
use memsample::{End, RunState, Totals};
use serde::{Deserialize, Serialize};

/// `GET /v1/runs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    /// Those that the caller may see, newest first.
    pub runs: Vec<RunListEntry>,
    /// Whether there are more than could be listed.
    pub truncated: bool,
}

/// A recording in the runs directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunListEntry {
    /// Its name in the runs directory.
    pub id: String,
    /// Whether it is whole.
    pub state: RunState,
    /// When it began.
    pub started: Timestamp,
    /// The size of its files, in bytes.
    pub bytes: u64,
}

/// `GET /v1/runs/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its name in the runs directory.
    pub id: String,
    /// Its directory.
    pub run: String,
    /// Whether it is whole.
    pub state: RunState,
    /// Why it ended; null while it is being recorded.
    pub end: Option<End>,
    /// When it began.
    pub started: Timestamp,
    /// The last tick, as of the last time `run.json` was written.
    pub last_tick: Option<Timestamp>,
    /// From one tick to the next, in milliseconds.
    pub interval_ms: u64,
    /// The user who started it, where that was noted.
    pub uid: Option<u32>,
    /// What the client wanted to find.
    pub labels: BTreeMap<String, String>,
    /// What it holds and lacks.
    pub totals: Totals,
    /// Its files, each to be had as `/v1/runs/{id}/{name}`.
    pub files: Vec<RunFile>,
}

/// A file of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
}
