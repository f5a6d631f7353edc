//! What the supervisor knows of an attempt that has ended.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::results::{GroupUse, LeftOverProcess};

/// How a program ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramExit {
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// The largest resident set of all images of all processes that init has reaped, in bytes.
    pub(super) reaped_max_rss_bytes: Option<u64>,
    /// Whether it may have ended up to a second before that was noticed.
    pub(super) is_late: bool,
}

/// What is known when everything has ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AttemptEnd {
    /// Why the program did not begin.
    pub(crate) not_started: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Its time was over.
    pub(crate) timed_out: bool,
    /// It used more CPU time than it may.
    pub(crate) out_of_cpu_time: bool,
    /// The runner ended it.
    pub(crate) ended_by_runner: bool,
    /// What lost its way out: the process that knows how the program ended was killed.
    pub(crate) lost: bool,
    /// Why nothing could be heard of that process any more, where it was not killed.
    pub(crate) unheard: Option<String>,
    /// From its first instruction until its last process ended.
    pub(crate) duration: Duration,
    pub(crate) left_over_processes: Vec<LeftOverProcess>,
    /// Why not all processes that it may have left could be listed.
    pub(crate) unlisted: Option<String>,
    /// Bytes left in `/dev/shm` and System V shared memory, where those are the sandbox's own.
    pub(crate) left_bytes: Option<u64>,
    /// The largest resident set of all images of what init started, in bytes; `None` where the end of one of these
    /// processes is not known.
    pub(crate) reaped_max_rss_bytes: Option<u64>,
    /// What its control group had; `None` where there was none that counts.
    pub(crate) group: Option<GroupUse>,
    /// Processes in its control group that the OOM killer killed.
    pub(crate) oom_kills: Option<u64>,
    /// Whether its own limit was reached then.
    pub(crate) limit_reached: bool,
    /// The kills of the OOM killer on the whole machine during the attempt.
    pub(crate) machine_oom_kills: Option<u64>,
    pub(crate) output_cut_bytes: u64,
    /// Why output is missing.
    pub(crate) output_error: Option<String>,
    /// What went wrong around it, such as a cleanup step that failed.
    pub(crate) notes: Vec<String>,
    /// The scratch directory, where it was kept.
    pub(crate) kept: Option<PathBuf>,
}

impl AttemptEnd {
    /// Returns the end of an attempt whose program did not begin, for a reason that is the end of a sentence.
    pub(super) fn not_started(reason: String) -> Self {
        Self { not_started: Some(reason), ..Self::default() }
    }
}
