//! The health of the daemon.

use serde::{Deserialize, Serialize};

use super::Span;

/// `GET /healthz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `failing` with the reason in `problems`.
    pub status: String,
    /// The version of the daemon.
    pub version: String,
    /// The process id of the daemon.
    pub pid: u32,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Sessions that are being recorded, of all users.
    pub sessions: u64,
    /// The directory in which recordings are made.
    pub recordings: String,
    /// What is wrong now.
    pub problems: Vec<String>,
    /// What the daemon could do so that the OOM killer does not choose it first.
    pub protection: Protection,
    /// The flight recorder; null where there is none.
    pub flight_recorder: Option<FlightHealth>,
}

/// How the flight recorder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlightHealth {
    /// How much it is to keep.
    pub span: Span,
    /// The most that this may take on disk.
    pub max_bytes: u64,
    /// How far back it reaches now, in milliseconds.
    pub kept_ms: u64,
    /// What that takes on disk.
    pub kept_bytes: u64,
    /// The memory pressure for which a dump is made, as `/proc/pressure/memory` has taken it; null: none.
    pub pressure: Option<String>,
    /// Dumps since the daemon began.
    pub dumps: u64,
    /// Automatic dumps that were not made, since those that are kept fill what they may.
    pub dumps_refused: u64,
    /// How often it failed, for lack of space for example, and began again.
    pub restarts: u64,
    /// What this machine or these rights did not allow.
    pub notes: Vec<String>,
}

/// What the daemon could do so that the OOM killer does not choose it first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Its `oom_score_adj` as the kernel has it; -1000 to 1000, lower is safer.
    pub oom_score_adj: Option<i32>,
    /// Whether its memory is locked.
    pub memory_locked: bool,
    /// Its own control group; null if it shares one.
    pub cgroup: Option<String>,
    /// What was not permitted, and what to do about it.
    pub notes: Vec<String>,
}
