//! The processes inside of a sandbox.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use crate::sandbox::groups::Groups;
use crate::sandbox::listed::Listed;
use crate::sandbox::processes::{
    IdentifiedProcess, identify_descendants, is_alive, kill_below, list_descendants, rss_bytes,
};

/// Members of the groups up to which other descendants are looked for, too, where the sum is only to be shown.
const MAX_SEARCHED: usize = 512;

/// The processes inside of a sandbox, without init.
pub(super) struct Inside<'a> {
    groups: &'a Groups,
    /// The process that all are below; `None` where the kernel has ended them.
    ancestor: Option<i32>,
    /// Whether init is the first process of a pid namespace.
    has_pid_namespace: bool,
}

impl<'a> Inside<'a> {
    pub(super) fn new(groups: &'a Groups, has_pid_namespace: bool) -> Self {
        Self { groups, ancestor: None, has_pid_namespace }
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
        self.ancestor = if self.has_pid_namespace { None } else { Some(own_pid()) };
    }

    /// Lists those that descend from init, whatever control group they are in, whether or not they have ended.
    pub(super) fn descendants(&self) -> Listed<i32> {
        self.ancestor.map(list_descendants).unwrap_or_default()
    }

    /// Lists those in the groups and those that descend from init, whether or not they have ended.
    fn all(&self) -> Listed<i32> {
        let mut all = self.groups.members();
        let below = self.descendants();
        all.found.extend(below.found);
        all.found.sort_unstable();
        all.found.dedup();
        all.error = all.error.or(below.error);
        all
    }

    /// Returns all live ones that can be listed.
    pub(super) fn identified(&self) -> Vec<IdentifiedProcess> {
        let mut all = self.groups.identified();
        all.extend(self.ancestor.map(identify_descendants).unwrap_or_default());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Lists all live ones, and says where that failed.
    pub(super) fn listed(&self) -> Listed<i32> {
        let Listed { found, error } = self.all();
        Listed { found: found.into_iter().filter(|&pid| is_alive(pid)).collect(), error }
    }

    /// Returns whether none of them lives. Of thousands it looks at as many as it takes to find one.
    pub(super) fn have_ended(&self) -> bool {
        let Listed { found, error } = self.all();
        error.is_none() && !found.into_iter().any(is_alive)
    }

    /// Returns the sum of their resident sets, and whether all were read within `bound`.
    pub(super) fn rss_bytes_within(&self, bound: Duration) -> (u64, bool) {
        let began = Instant::now();
        let in_groups = self.groups.members();
        // Of thousands, who has left the groups is not searched for.
        let listed = if in_groups.found.len() < MAX_SEARCHED { self.all() } else { in_groups };
        let mut sum = 0_u64;
        for pid in listed.found {
            if began.elapsed() > bound {
                return (sum, false);
            }
            sum = sum.saturating_add(rss_bytes(pid).unwrap_or(0));
        }
        (sum, listed.error.is_none())
    }

    /// Kills all of them; says whether the tool was among what has ended meanwhile.
    pub(super) fn kill(&self, tool: Pid) -> bool {
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
pub(super) fn kill_own(tool: Pid) -> bool {
    let mut tool_ended = false;
    kill_below(own_pid(), || tool_ended |= reap(tool));
    tool_ended
}

/// Reaps what has ended; says whether the tool was among it.
pub(super) fn reap(tool: Pid) -> bool {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    let mut tool_ended = false;
    while let Ok(Some((pid, status))) = waitpid(None, options) {
        if status.stopped() {
            // Only a test stops its init, which would reap no more and report nothing.
            let _ = kill_process(pid, Signal::CONT);
        } else {
            tool_ended |= pid == tool;
        }
    }
    tool_ended
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}
