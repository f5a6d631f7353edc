//! Processes that were seen to exit, until their exit records come.

use std::sync::Arc;

use super::entry::{Entry, EntryState, Process};
use crate::events::TaskExit;
use crate::identity::{Comm, Identity};
use crate::metric::Metrics;

/// An exit record comes at most one sweep after the exit is seen. No more than this many are waited for.
const MAX_UNMATCHED: usize = 64 * 1024;

/// A process that was seen to exit before its exit record came.
pub(super) struct UnmatchedExit {
    pub(super) pid: i32,
    pub(super) identity: Arc<Identity>,
    /// Whether a batch has the identity.
    pub(super) is_known: bool,
    pub(super) metrics: Metrics,
    pub(super) last_look: LastLook,
    /// The last sweep before the end was seen.
    pub(super) alive_boot_ns: u64,
    /// Sweeps since then.
    pub(super) age: u8,
}

/// How a process was when it was last looked at, as far as that tells whether another program followed.
pub(super) struct LastLook {
    comm: Comm,
    /// The kernel reported an exec after it.
    is_exec_reported: bool,
    /// Or so soon after it that it may have been the one before.
    may_be_reported: bool,
    /// How many execs lie between it and what ended, if that is another image.
    pub(super) execs_since: u32,
}

impl LastLook {
    pub(super) fn of(process: &Process) -> Self {
        Self {
            comm: process.comm,
            is_exec_reported: process.is_exec_reported(),
            // If it was looked at in the midst of an exec, that is reported afterwards, and its name comes late too.
            may_be_reported: process.reported_exec_boot_ns > process.image_boot_ns
                && !process.is_in_exec,
            execs_since: process.execs_since(),
        }
    }

    /// Notes an exec that was reported after the end of the process had been seen: it happened before that.
    pub(super) fn note_exec(&mut self) {
        // The first of them may be counted already, as one at least.
        self.execs_since = self.execs_since.saturating_add(1);
        self.is_exec_reported = true;
    }

    /// Returns whether what ended is a program that was never looked at. A change of name alone is reported.
    pub(super) fn missed_a_program(&self, exit: &TaskExit) -> bool {
        self.is_exec_reported || (self.may_be_reported && self.comm != exit.comm)
    }
}

impl UnmatchedExit {
    /// Remembers an entry whose end has been seen.
    pub(super) fn remember(ends: &mut Option<Vec<Self>>, entry: &Entry, alive_boot_ns: u64) {
        let (Some(ends), Some(process)) = (ends, entry.process()) else {
            return;
        };
        if entry.state.contains(EntryState::EXIT_KNOWN) || ends.len() >= MAX_UNMATCHED {
            return;
        }
        ends.push(Self {
            pid: entry.pid,
            identity: Arc::clone(&process.identity),
            is_known: entry.state.contains(EntryState::IDENTITY_REPORTED),
            metrics: process.metrics,
            last_look: LastLook::of(process),
            alive_boot_ns,
            age: 0,
        });
    }
}
