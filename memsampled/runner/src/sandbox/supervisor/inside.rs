//! The processes inside of a sandbox.

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use crate::sandbox::groups::Groups;
use crate::sandbox::listed::Listed;
use crate::sandbox::processes::{describe, kill_below, list_descendants};

/// The processes inside of a sandbox, without init.
pub(super) struct Inside<'a> {
    groups: &'a Groups,
    /// The process that all are below; `None` where the kernel has ended them.
    ancestor: Option<i32>,
    /// Whether there is a tool between the supervisor and init.
    has_tool: bool,
}

impl<'a> Inside<'a> {
    pub(super) fn new(groups: &'a Groups, has_tool: bool) -> Self {
        Self { groups, ancestor: None, has_tool }
    }

    /// Notes the pid of init: all are below it.
    pub(super) fn init_runs(&mut self, pid: i32) {
        self.ancestor = Some(pid);
    }

    /// Returns the pid of init while it runs, and 0 otherwise.
    pub(super) fn init_pid(&self) -> i32 {
        self.ancestor.unwrap_or(0)
    }

    /// Notes that init has ended. Without a pid namespace a test can kill its init: what that leaves is the
    /// supervisor's then. With one the kernel has ended all.
    pub(super) fn init_ended(&mut self) {
        self.ancestor = if self.has_tool { None } else { Some(own_pid()) };
    }

    /// Returns all of them that can be listed.
    pub(super) fn processes(&self) -> Vec<i32> {
        self.listed().found
    }

    /// Lists all of them, and says where that failed.
    pub(super) fn listed(&self) -> Listed<i32> {
        let mut listed = self.groups.listed();
        let alive = |&pid: &i32| describe(pid).is_some();
        let below = self.ancestor.map(list_descendants).unwrap_or_default();
        listed.found.extend(below.found.into_iter().filter(alive));
        listed.found.sort_unstable();
        listed.found.dedup();
        listed.error = listed.error.or(below.error);
        listed
    }

    /// Kills all of them; says whether the tool was among what has ended meanwhile.
    pub(super) fn kill(&self, tool: u32) -> bool {
        let mut tool_ended = false;
        if !self.groups.is_empty() {
            self.groups.kill();
        }
        if let Some(ancestor) = self.ancestor {
            kill_below(ancestor, || tool_ended |= reap(tool));
        }
        tool_ended
    }
}

/// Kills all that is below the supervisor; says as [`Inside::kill`] whether the tool has ended.
pub(super) fn kill_own(tool: u32) -> bool {
    let mut tool_ended = false;
    kill_below(own_pid(), || tool_ended |= reap(tool));
    tool_ended
}

/// Reaps what has ended; says whether the tool was among it.
pub(super) fn reap(tool: u32) -> bool {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    let mut tool_ended = false;
    while let Ok(Some((pid, status))) = waitpid(None, options) {
        if status.stopped() {
            // Only a test stops its init, which would reap no more and report nothing.
            let _ = kill_process(pid, Signal::CONT);
        } else {
            tool_ended |= u32::try_from(Pid::as_raw_nonzero(pid).get()) == Ok(tool);
        }
    }
    tool_ended
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}
