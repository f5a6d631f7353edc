//! Who forked whom, as the kernel reported it, and what each process inherits by that.
//!
//! A fork is reported whether or not the child or the parent is ever looked at. What a child inherits is known at once,
//! so that no chain is too long, and nothing depends on when an exit record comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::scopes::{ScopeId, Scopes, Trees};
use super::settled_scope::Root;
use super::sweeps::ReportedFork;
use crate::events::KTHREADD;
use crate::identity::Identity;
use crate::units::START_STEP_NS;

/// Forks that are remembered, at most: about 100 bytes each, and twice the usual number of process ids.
const MAX_FORKS: usize = 64 * 1024;
/// Sweeps for which a fork is remembered while nothing depends on who descends from whom: a test may be assigned to a
/// process that was forked a moment ago.
const SWEEPS_WITHOUT_NEED: u64 = 8;
/// What lies between a fork and its report, and the error of the reported instant.
const SLACK_NS: u64 = 20_000_000;

/// What a process has by descent.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited {
    pub(super) trees: Trees,
    /// Those of the trees that it is in only as long as it is in their control group: it has moved there.
    pub(super) joined: Trees,
    /// Whether it is in the target.
    pub(super) inside: bool,
    /// Where an ancestor is not known: when the last one began that is, since boot. Whatever began before that instant
    /// may be an ancestor too.
    pub(super) unknown_since_ns: Option<u64>,
}

impl Inherited {
    /// Returns what a child has of a process that has this: it descends from whoever was in a tree when it was forked.
    pub(super) fn of_child(&self) -> Self {
        Self { joined: Trees::default(), ..self.clone() }
    }

    /// Returns what a process has of whose parent nothing is known.
    pub(super) fn of_unknown(ppid: i32, start_ns: u64) -> Self {
        // Without a parent in this pid namespace, or one that is in no tree.
        let is_outside = ppid == 0 || ppid == KTHREADD;
        let unknown_since_ns = Some(start_ns).filter(|_| !is_outside);
        Self { unknown_since_ns, ..Self::default() }
    }
}

/// A fork that the kernel reported.
struct Fork {
    parent: i32,
    boot_ns: u64,
    /// `None` while the parent is not known.
    inherited: Option<Inherited>,
    sweep: u64,
}

/// The last reported fork of each process id.
#[derive(Default)]
pub(super) struct Lineage {
    forks: HashMap<i32, Fork>,
    /// Those of the present sweep whose parent is not known yet, in their order.
    open: Vec<i32>,
    sweep: u64,
    /// The sweep in which a report was lost, if any was: who has none did not necessarily begin before the recording.
    lost: Option<u64>,
}

impl Lineage {
    /// Notes that reports were lost. What was reported before may not hold any more: a process id may have been given
    /// again.
    pub(super) fn note_lost(&mut self) {
        self.forks.clear();
        self.open.clear();
        self.lost = Some(self.sweep);
    }

    /// Adds a fork; `of_member` is what the parent has where it was looked at.
    pub(super) fn add(
        &mut self,
        fork: ReportedFork,
        of_member: Option<(u64, Inherited)>,
        scopes: &Scopes,
    ) {
        let ReportedFork { parent, pid, boot_ns, .. } = fork;
        let inherited = self.of_parent(parent, boot_ns, of_member);
        if inherited.is_none() {
            self.open.push(pid);
        }
        let inherited = inherited.map(|inherited| own(inherited, pid, boot_ns, scopes));
        let fork = Fork { parent, boot_ns, inherited, sweep: self.sweep };
        self.forks.insert(pid, fork);
    }

    fn of_parent(
        &self,
        parent: i32,
        boot_ns: u64,
        of_member: Option<(u64, Inherited)>,
    ) -> Option<Inherited> {
        if parent == KTHREADD {
            return Some(Inherited::default());
        }
        let fork = self.forks.get(&parent).filter(|fork| fork.boot_ns <= boot_ns);
        match (fork, of_member) {
            // The id may have been given again since the member was looked at.
            (Some(fork), Some((start_ns, _))) if fork.boot_ns > start_ns + 2 * SLACK_NS => {
                fork.inherited.clone()
            }
            (_, Some((_, inherited))) => Some(inherited),
            (Some(fork), None) => fork.inherited.clone(),
            (None, None) => None,
        }
    }

    /// Finds the parents of those that are still without, after the newcomers of the sweep were settled: what a parent
    /// has that was looked at is `of_member`.
    pub(super) fn close(
        &mut self,
        of_member: impl Fn(i32, u64) -> Option<(u64, Inherited)>,
        scopes: &Scopes,
    ) {
        for pid in std::mem::take(&mut self.open) {
            let Some(&Fork { parent, boot_ns, .. }) = self.forks.get(&pid) else { continue };
            let found = self.of_parent(parent, boot_ns, of_member(parent, boot_ns));
            // Nobody has reported its parent: that is older than the recording, and none of those that can be looked
            // at, such as a thread of the kernel.
            let unknown_since_ns = self.lost.map(|_| boot_ns);
            let inherited =
                found.unwrap_or_else(|| Inherited { unknown_since_ns, ..Inherited::default() });
            if let Some(fork) = self.forks.get_mut(&pid) {
                fork.inherited = Some(own(inherited, pid, boot_ns, scopes));
            }
        }
    }

    /// Returns what a process has by its fork; `None` where that was not reported, or its parent is not known yet.
    pub(super) fn of(&self, identity: &Identity) -> Option<&Inherited> {
        let fork = self.forks.get(&identity.pid)?;
        fork.is_of(identity.start_ns).then_some(fork.inherited.as_ref()?)
    }

    /// Returns what a process has that was forked then.
    pub(super) fn of_fork(&self, pid: i32, boot_ns: u64) -> Option<&Inherited> {
        self.forks.get(&pid).filter(|fork| fork.boot_ns == boot_ns)?.inherited.as_ref()
    }

    /// Returns the parent of a process and when it was forked, where that was reported.
    pub(super) fn parent_of(&self, pid: i32, start_ns: u64) -> Option<(i32, u64)> {
        let fork = self.forks.get(&pid).filter(|fork| fork.is_of(start_ns))?;
        Some((fork.parent, fork.boot_ns))
    }

    /// Puts a new tree into what those have that are in it already; returns their ids.
    pub(super) fn plant(&mut self, id: ScopeId, root: Root) -> HashSet<i32> {
        let mut inside = HashSet::new();
        let mut in_order: Vec<(u64, i32)> =
            self.forks.iter().map(|(&pid, fork)| (fork.boot_ns, pid)).collect();
        in_order.sort_unstable();
        // Of a descendant, what it shares with the root stands behind what is nearer to it.
        let mut outer = 0;
        let root_ns = root.start_ns();
        for (boot_ns, pid) in in_order {
            let Some(fork) = self.forks.get_mut(&pid) else { continue };
            let is_root = pid == root.pid && fork.is_of(root_ns);
            let is_child = boot_ns.saturating_add(SLACK_NS) >= root_ns
                && (fork.parent == root.pid || inside.contains(&fork.parent));
            if !is_root && !is_child {
                continue;
            }
            inside.insert(pid);
            let Some(inherited) = &mut fork.inherited else { continue };
            if is_root {
                outer = inherited.trees.len();
            }
            if !inherited.trees.contains(&id) {
                let at = inherited.trees.len().saturating_sub(outer);
                let (inner, outer) = inherited.trees.split_at(at);
                inherited.trees = inner.iter().chain([&id]).chain(outer).copied().collect();
            }
        }
        inside
    }

    /// A sweep has ended; `is_needed` says whether anything depends on who descends from whom.
    pub(super) fn end_sweep(&mut self, is_needed: bool, lives: impl Fn(i32) -> bool) {
        self.sweep += 1;
        let sweep = self.sweep;
        if !is_needed {
            self.forks.retain(|_, fork| sweep - fork.sweep <= SWEEPS_WITHOUT_NEED);
            self.lost = self.lost.filter(|lost| sweep - lost <= SWEEPS_WITHOUT_NEED);
        } else if self.forks.len() > MAX_FORKS {
            // Who is looked at has the same as a member.
            self.forks
                .retain(|&pid, fork| sweep - fork.sweep <= SWEEPS_WITHOUT_NEED || !lives(pid));
            if self.forks.len() > MAX_FORKS {
                self.forks.retain(|_, fork| sweep - fork.sweep <= SWEEPS_WITHOUT_NEED);
                self.lost = Some(sweep);
            }
        }
    }
}

impl Fork {
    /// Returns whether it is that of the process that began then. What `stat` says is up to one step too early, and what
    /// is told by an exit record may be later.
    fn is_of(&self, start_ns: u64) -> bool {
        self.boot_ns.saturating_add(SLACK_NS) >= start_ns
            && self.boot_ns <= start_ns.saturating_add(START_STEP_NS + SLACK_NS)
    }
}

/// Adds the trees of which the process is the root.
fn own(mut inherited: Inherited, pid: i32, boot_ns: u64, scopes: &Scopes) -> Inherited {
    let mut roots: Vec<ScopeId> = Vec::new();
    for root in scopes.roots_at(pid, boot_ns, START_STEP_NS + SLACK_NS) {
        match root {
            Some(id) if !inherited.trees.contains(&id) => roots.push(id),
            Some(_) => {}
            None => inherited.inside = true,
        }
    }
    if !roots.is_empty() {
        roots.extend(inherited.trees.iter());
        inherited.trees = Arc::from(roots);
    }
    inherited
}
