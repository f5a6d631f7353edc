//! The events that `GET /v1/sessions/{id}/live` sends.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Session;

/// What an event of `GET /v1/sessions/{id}/live` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveSession {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// The tests that run: their `begin` was marked and their `end` was not yet, oldest first.
    pub tests: Vec<String>,
    /// The memory of its processes at the latest tick; null before the first, and when it has ended.
    pub latest: Option<LiveMemory>,
}

/// The memory of the processes in a session at its latest tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMemory {
    /// The tick.
    pub ts: Timestamp,
    /// How many processes there are.
    pub processes: u64,
    /// The sum of their resident sets, in which shared pages count for each.
    pub rss_bytes: u64,
    /// The sum of their anonymous memory.
    pub anon_bytes: u64,
    /// The sum of the last known PSS of those of which it was ever read.
    pub pss_bytes: u64,
    /// How many those are.
    pub pss_processes: u64,
    /// The processes with the largest resident sets, largest first.
    pub largest: Vec<LiveProcess>,
    /// The roles with the largest sums of resident sets, largest first.
    pub roles: Vec<LiveRole>,
}

/// A process at the latest tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveProcess {
    /// The key of its row in the table `processes`.
    pub process: u64,
    /// Its process id.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// What it does.
    pub role: String,
    /// The test that it belongs to; null where there is none.
    pub test: Option<String>,
    /// Its resident set.
    pub rss_bytes: u64,
    /// Its anonymous memory.
    pub anon_bytes: u64,
    /// Its last known PSS; null where it was never read.
    pub pss_bytes: Option<u64>,
}

/// All processes of one role at the latest tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRole {
    /// The role.
    pub role: String,
    /// How many processes have it.
    pub processes: u64,
    /// The sum of their resident sets.
    pub rss_bytes: u64,
    /// The sum of their anonymous memory.
    pub anon_bytes: u64,
}
