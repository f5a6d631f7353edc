//! What is known of kills of the OOM killer: how many were counted, who ended by its signal, what a caller says.

use std::sync::Arc;

use crate::identity::{Comm, ProcessId, text};
use crate::schema::exits::Exit;
use crate::scope::is_within;

/// What a caller knows of kills: the runner reads the group of a test when the test has ended, and removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OomReason {
    /// The test whose processes were killed.
    pub(super) test: String,
    /// How many of them.
    pub(super) kills: u64,
    /// The limit of the test, if that was reached.
    pub(super) limit_bytes: Option<u64>,
}

impl OomReason {
    pub(super) fn text(&self) -> String {
        match self.limit_bytes {
            Some(bytes) => {
                format!("the memory limit of its test, {} MiB, was reached", bytes >> 20)
            }
            None => "the machine, or a control group above that of its test, was out of memory"
                .to_owned(),
        }
    }
}

/// An exit by signal 9.
pub(super) struct KilledExit {
    pub(super) ts_ms: i64,
    pub(super) process: ProcessId,
    pub(super) test: Option<Arc<str>>,
    pub(super) pid: i32,
    pub(super) comm: Comm,
    pub(super) hwm_bytes: u64,
    pub(super) cgroup: Option<Vec<u8>>,
}

/// Kills that were counted between two readings.
pub(super) struct Kill {
    pub(super) after_ms: i64,
    pub(super) read_ms: i64,
    pub(super) count: u64,
    /// The control groups that count one more, the innermost last.
    pub(super) groups: Vec<Arc<[u8]>>,
}

impl Kill {
    /// Returns why, as far as the counters say. `own` is the group of the process, if one is meant.
    pub(super) fn why(&self, own: Option<&[u8]>) -> String {
        // The counter of the machine counts those for the limit of a group too.
        match (self.groups.last(), own) {
            (Some(group), _) => format!("the control group `{}` was at its limit", text(group)),
            (None, Some(own)) => format!(
                "the machine was out of memory, or its control group `{}`, which was not read in time",
                text(own)
            ),
            (None, None) => {
                "the machine, or a control group that was not read, was out of memory".to_owned()
            }
        }
    }

    /// Returns whether a process was in the group that counts one more, as far as both are known.
    pub(super) fn may_be(&self, end: &KilledExit) -> bool {
        let known = self.groups.last().zip(end.cgroup.as_ref());
        known.is_none_or(|(group, path)| is_within(path, group))
    }
}

impl KilledExit {
    pub(super) fn name(&self) -> String {
        let named = format!("{} ({})", self.comm, self.pid);
        match self.hwm_bytes {
            // The kernel had taken its memory before it made the record, and noted no peak.
            0 => named,
            bytes => format!("{named} of {} MiB", bytes >> 20),
        }
    }

    pub(super) fn of(exit: &Exit) -> Self {
        let Exit { ts_ms, process, test, pid, comm, hwm_bytes, killed_in, .. } = exit;
        Self {
            ts_ms: *ts_ms,
            process: *process,
            test: test.clone(),
            pid: *pid,
            comm: *comm,
            hwm_bytes: *hwm_bytes,
            cgroup: killed_in.clone(),
        }
    }
}
