//! The answer of `GET /v1/sessions/{id}/processes`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All processes of a session at its latest tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessList {
    /// The tick; null before the first, and when the session has ended.
    pub ts: Option<Timestamp>,
    /// The processes, in no order.
    pub processes: Vec<ListedProcess>,
}

/// A process at the latest tick; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedProcess {
    /// The key of its row in the table `processes`.
    pub process: u64,
    /// Its process id.
    pub pid: i32,
    /// That of its parent.
    pub ppid: i32,
    /// Its effective user id; null where it is not known.
    pub uid: Option<u32>,
    /// Its name.
    pub comm: String,
    /// Its arguments with a space between them; empty where they are not known.
    pub cmdline: String,
    /// What it does.
    pub role: String,
    /// Its control group.
    pub cgroup: Option<String>,
    /// The test that it belongs to; null where there is none.
    pub test: Option<String>,
    /// Its resident set.
    pub rss_bytes: u64,
    /// Its anonymous memory.
    pub anon_bytes: u64,
    /// Its memory in swap, as it was last read; null where it never was.
    pub swap_bytes: Option<u64>,
    /// Its high-water mark, as it was last read; null where it never was.
    pub hwm_bytes: Option<u64>,
    /// Its PSS, as it was last read; null where it never was.
    pub pss_bytes: Option<u64>,
    /// Its USS of the same reading.
    pub uss_bytes: Option<u64>,
    /// The tick of that reading, or an earlier one.
    pub pss_ts: Option<Timestamp>,
}
