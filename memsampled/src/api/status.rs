use serde::{Deserialize, Serialize};

/// `GET /healthz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `failing` with the reason in `problems`.
    pub status: String,
    /// The version of the daemon.
    pub version: String,
    /// The process id of the daemon.
    pub pid: u32,
    /// For how long it runs, in milliseconds.
    pub uptime_ms: u64,
    /// Sessions that go on, of all users.
    pub sessions: u64,
    /// The directory in which recordings are made.
    pub runs: String,
    /// What is wrong now.
    pub problems: Vec<String>,
    /// What the daemon could do so that the kernel does not end it first.
    pub protection: Protection,
}

/// What the daemon could do so that the kernel does not end it first.
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
