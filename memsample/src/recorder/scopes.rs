//! The scopes of a recording: its target, and those that are assigned to tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::settled_scope::SettledScope;
use crate::identity::Identity;
use crate::scope::is_within;
use crate::units::{ClockTicks, START_STEP_NS};

/// The name of a test.
pub(super) type TestName = Arc<str>;

/// Scopes that are live, at most: to look through them takes tens of microseconds for a new process.
pub(super) const MAX_SCOPES: usize = 4096;
/// Sweeps for which a scope is kept when it is over: the processes of its last moments are found in
/// the next one, and their exit records in the one after.
pub(super) const SWEEPS_AFTER: u32 = 3;

/// What a caller asked for, and when.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) boot_ns: u64,
    pub(super) kind: OrderKind,
}

#[derive(Debug)]
pub(super) enum OrderKind {
    Assign(SettledScope, TestName),
    Unassign(TestName),
}

/// In the order in which scopes were assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScopeId(u32);

/// The trees that an image is in, the innermost first.
pub(super) type Trees = Arc<[ScopeId]>;

/// A scope that was assigned to a test.
pub(super) struct LiveScope {
    pub(super) id: ScopeId,
    pub(super) scope: SettledScope,
    pub(super) test: TestName,
    /// Of a tree: members that live.
    pub(super) members: u32,
    /// Of a tree: whether its root has been seen, and no end of it.
    pub(super) root_lives: bool,
    /// Processes that ended before are no members.
    since_boot_ns: u64,
    /// Processes that began later are no members.
    pub(super) until_boot_ns: Option<u64>,
    /// Sweeps since it is over, or since it began if it has no member.
    sweeps: u32,
}

impl LiveScope {
    /// Returns whether a process that lived then can be a member.
    fn is_open(&self, start_ns: u64, end_boot_ns: u64) -> bool {
        self.since_boot_ns <= end_boot_ns
            && self.until_boot_ns.is_none_or(|until| start_ns <= until)
    }
}

/// The scopes that are live, and the target of the recording.
pub(super) struct Scopes {
    target: SettledScope,
    /// Ascending by number.
    live: Vec<LiveScope>,
    next: u32,
    /// How many scopes there are, waiting orders included.
    count: Arc<AtomicUsize>,
}

impl Scopes {
    pub(super) fn new(target: SettledScope, count: Arc<AtomicUsize>) -> Self {
        Self { target, live: Vec::new(), next: 0, count }
    }

    /// Adds a scope whose members lived at `since_boot_ns` or began later.
    pub(super) fn add(
        &mut self,
        scope: SettledScope,
        test: TestName,
        since_boot_ns: u64,
    ) -> ScopeId {
        let id = ScopeId(self.next);
        self.next += 1;
        self.live.push(LiveScope {
            id,
            scope,
            test,
            members: 0,
            root_lives: false,
            since_boot_ns,
            until_boot_ns: None,
            sweeps: 0,
        });
        id
    }

    /// Ends the scopes of a test: what begins after `boot_ns` is no member.
    pub(super) fn end_test(&mut self, test: &TestName, boot_ns: u64) {
        for scope in self.live.iter_mut().filter(|scope| scope.test == *test) {
            scope.until_boot_ns.get_or_insert(boot_ns);
        }
    }

    /// Returns whether anything depends on who descends from whom.
    pub(super) fn need_ancestry(&self) -> bool {
        !self.live.is_empty() || self.target != SettledScope::Machine
    }

    /// Counts an image among the members of its trees.
    pub(super) fn add_member(&mut self, trees: &[ScopeId]) {
        for scope in &mut self.live {
            scope.members += u32::from(trees.contains(&scope.id));
        }
    }

    /// Counts an image that has ended no more.
    pub(super) fn remove_member(&mut self, trees: &[ScopeId], identity: &Identity) {
        for scope in &mut self.live {
            scope.members -= u32::from(trees.contains(&scope.id)).min(scope.members);
            if let SettledScope::Tree { root, .. } = scope.scope {
                scope.root_lives &= !root.is(identity);
            }
        }
    }

    /// Returns whether a process is in the control group that was made for a tree.
    pub(super) fn is_in_group(&self, id: ScopeId, identity: &Identity) -> bool {
        let index = self.live.binary_search_by_key(&id, |scope| scope.id).ok();
        let scope = index.and_then(|index| self.live.get(index));
        scope.is_some_and(|scope| scope.scope.group_of(identity).is_some())
    }

    /// Returns a scope that is live.
    pub(super) fn get_mut(&mut self, id: ScopeId) -> Option<&mut LiveScope> {
        let index = self.live.binary_search_by_key(&id, |scope| scope.id).ok()?;
        self.live.get_mut(index)
    }

    /// Returns the trees whose root a process may be that was never looked at, and for that of the
    /// target `None`; of its start it is known that it was before that of a child.
    pub(super) fn roots(
        &self,
        pid: i32,
        child_start: ClockTicks,
    ) -> impl Iterator<Item = Option<ScopeId>> {
        let is_root = move |scope: &SettledScope| match scope {
            SettledScope::Tree { root, .. } => root.pid == pid && root.start <= child_start,
            SettledScope::Machine | SettledScope::Cgroup(_) => false,
        };
        let scopes = self.live.iter().rev().filter(move |scope| is_root(&scope.scope));
        let target = is_root(&self.target).then_some(None);
        scopes.map(|scope| Some(scope.id)).chain(target)
    }

    /// Returns the trees whose root a process is that was forked at `boot_ns`, and for that of the target `None`;
    /// `slack_ns` is the error of what `stat` says of the start.
    pub(super) fn roots_at(
        &self,
        pid: i32,
        boot_ns: u64,
        slack_ns: u64,
    ) -> impl Iterator<Item = Option<ScopeId>> {
        let is_root = move |scope: &SettledScope| match scope {
            SettledScope::Tree { root, .. } => {
                root.pid == pid && root.start_ns().abs_diff(boot_ns) <= slack_ns
            }
            SettledScope::Machine | SettledScope::Cgroup(_) => false,
        };
        let scopes = self.live.iter().rev().filter(move |scope| is_root(&scope.scope));
        let target = is_root(&self.target).then_some(None);
        scopes.map(|scope| Some(scope.id)).chain(target)
    }

    /// Returns whether a process that lived then may be of a test, where nothing is known of its ancestors that began
    /// before `unknown_since_ns`.
    pub(super) fn may_have(
        &self,
        unknown_since_ns: u64,
        (start_ns, end_boot_ns): (u64, u64),
    ) -> bool {
        self.live.iter().any(|scope| {
            let SettledScope::Tree { root, .. } = scope.scope else { return false };
            scope.is_open(start_ns, end_boot_ns)
                && root.start_ns() <= unknown_since_ns.saturating_add(START_STEP_NS)
        })
    }

    /// Returns whether one of these trees is that of a test to which a process would belong that lived then.
    pub(super) fn is_of_test(&self, trees: &[ScopeId], lived: (u64, u64)) -> bool {
        let open = |scope: &&LiveScope| scope.is_open(lived.0, lived.1);
        self.live.iter().filter(open).any(|scope| trees.contains(&scope.id))
    }

    /// Adds the trees of which a process is the root, and those in whose control group it is. The innermost group is the
    /// first; it is stronger than what was inherited. Those of the groups are added to `joined`.
    pub(super) fn with_own(
        &mut self,
        trees: Trees,
        joined: &mut Trees,
        identity: &Identity,
    ) -> Trees {
        let mut own = Vec::new();
        for scope in self.live.iter_mut().rev() {
            let SettledScope::Tree { root, .. } = scope.scope else { continue };
            let is_root = root.is(identity);
            scope.root_lives |= is_root;
            let group = scope.scope.group_of(identity).filter(|_| !trees.contains(&scope.id));
            match (is_root && !trees.contains(&scope.id), group) {
                (true, _) => own.push((usize::MAX, scope.id)),
                (false, Some(group)) => {
                    own.push((group.len(), scope.id));
                    *joined = joined.iter().copied().chain([scope.id]).collect();
                }
                (false, None) => {}
            }
        }
        if own.is_empty() {
            return trees;
        }
        own.sort_by_key(|&(depth, _)| std::cmp::Reverse(depth));
        own.iter().map(|(_, id)| id).chain(trees.iter()).copied().collect()
    }

    /// Returns the trees without those that a process was in only by their control group, and is so no more.
    pub(super) fn without_left(
        &self,
        trees: Trees,
        joined: &mut Trees,
        identity: &Identity,
    ) -> Trees {
        let left = |id: &ScopeId| joined.contains(id) && !self.is_in_group(*id, identity);
        if !joined.iter().any(left) {
            return trees;
        }
        let kept = trees.iter().filter(|id| !left(id)).copied().collect();
        *joined = joined.iter().filter(|id| self.is_in_group(**id, identity)).copied().collect();
        kept
    }

    /// Adds the trees of which a process may be the root that was never sampled: its start is known to the
    /// clock tick, or too late.
    pub(super) fn with_possible_own(&self, trees: &[ScopeId], identity: &Identity) -> Vec<ScopeId> {
        let own = |scope: &&LiveScope| match scope.scope {
            SettledScope::Tree { root, .. } => {
                root.pid == identity.pid && root.start <= identity.start
            }
            SettledScope::Machine | SettledScope::Cgroup(_) => false,
        };
        let own = self.live.iter().rev().filter(own).map(|scope| scope.id);
        own.filter(|id| !trees.contains(id)).chain(trees.iter().copied()).collect()
    }

    /// Returns whether a process is in the target, of which what it forks inherits.
    pub(super) fn is_in_target(&self, inherited: bool, identity: &Identity) -> bool {
        match &self.target {
            SettledScope::Machine => true,
            SettledScope::Tree { root, .. } => {
                inherited || root.is(identity) || self.target.group_of(identity).is_some()
            }
            SettledScope::Cgroup(group) => {
                identity.cgroup.as_deref().is_some_and(|path| is_within(path, group))
            }
        }
    }

    /// Returns whether an image in the target is recorded.
    pub(super) fn target_counts(&self, identity: &Identity) -> bool {
        match self.target {
            SettledScope::Tree { root, .. } => root.counts(identity),
            SettledScope::Machine | SettledScope::Cgroup(_) => true,
        }
    }

    /// Returns whether nothing is outside of the target.
    pub(super) fn takes_all(&self) -> bool {
        self.target == SettledScope::Machine
    }

    /// Returns the scope that decides on the test of an image: the innermost tree against the
    /// innermost control group, and of these the one that was assigned later.
    pub(super) fn deciding(
        &self,
        trees: &[ScopeId],
        identity: &Identity,
        end_boot_ns: u64,
    ) -> Option<&LiveScope> {
        let start_ns = identity.start_ns;
        let is_open = |scope: &&LiveScope| scope.is_open(start_ns, end_boot_ns);
        let by_id = |id: &ScopeId| {
            let index = self.live.binary_search_by_key(id, |scope| scope.id).ok()?;
            self.live.get(index)
        };
        let counts = |scope: &&LiveScope| match scope.scope {
            SettledScope::Tree { root, .. } => root.counts(identity),
            SettledScope::Machine | SettledScope::Cgroup(_) => true,
        };
        let tree = trees.iter().filter_map(by_id).find(|scope| is_open(scope) && counts(scope));
        let mut inner: Option<(usize, &LiveScope)> = None;
        let mut machine = None;
        for scope in self.live.iter().filter(is_open) {
            match &scope.scope {
                SettledScope::Machine => machine = Some(scope),
                SettledScope::Tree { .. } => {}
                SettledScope::Cgroup(group) => {
                    let path = identity.cgroup.as_deref();
                    if path.is_some_and(|path| is_within(path, group))
                        && inner.is_none_or(|(length, _)| length <= group.len())
                    {
                        inner = Some((group.len(), scope));
                    }
                }
            }
        }
        let inner = inner.map(|(_, scope)| scope);
        [tree, inner].into_iter().flatten().max_by_key(|scope| scope.id).or(machine)
    }

    /// Forgets scopes that are over: a sweep has ended.
    pub(super) fn end_sweep(&mut self) {
        let before = self.live.len();
        self.live.retain_mut(|scope| {
            let is_empty_tree = matches!(scope.scope, SettledScope::Tree { .. })
                && scope.members == 0
                && !scope.root_lives;
            if is_empty_tree || scope.until_boot_ns.is_some() {
                scope.sweeps += 1;
            } else {
                scope.sweeps = 0;
            }
            scope.sweeps < SWEEPS_AFTER
        });
        self.count.fetch_sub(before - self.live.len(), Ordering::AcqRel);
    }
}
