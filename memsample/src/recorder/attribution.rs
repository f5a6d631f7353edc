//! Which test a process image belongs to, and whether it is recorded at all.
//!
//! Settled once for each image, when it is first seen: a sweep that finds nobody new costs nothing
//! here. Being in a tree is inherited, so that a child keeps its test when its parent ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::ancestry::{Ancestry, MAX_DEPTH, Member};
use super::lineage::{Inherited, Lineage};
use super::scopes::{Order, OrderKind, ScopeId, Scopes, TestName};
use super::settled_scope::{Root, SettledScope};
use super::sweeps::ReportedFork;
use crate::identity::Identity;
use crate::slot::Slot;

/// The scopes of a recording, and the process images that are alive.
pub(super) struct Attribution {
    scopes: Scopes,
    ancestry: Ancestry,
    lineage: Lineage,
    orders: VecDeque<Order>,
    newcomers: Vec<Slot>,
    /// Processes that may be of a test, and of which that is not known, since they were taken out.
    unattributed: u32,
}

impl Attribution {
    pub(super) fn new(target: SettledScope, count: Arc<AtomicUsize>) -> Self {
        Self {
            scopes: Scopes::new(target, count),
            ancestry: Ancestry::default(),
            lineage: Lineage::default(),
            orders: VecDeque::new(),
            newcomers: Vec::new(),
            unattributed: 0,
        }
    }

    /// Takes an order, to be followed from the first sweep on that began after it was given.
    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// Applies the orders that were given before `now_ns`, and returns the images that changed tests.
    pub(super) fn apply_orders(&mut self, now_ns: u64) -> Vec<Slot> {
        let mut moved = Vec::new();
        while self.orders.front().is_some_and(|order| order.boot_ns <= now_ns) {
            let Some(order) = self.orders.pop_front() else { break };
            match order.kind {
                OrderKind::Assign(scope, test) => {
                    self.assign(scope, test, order.boot_ns, &mut moved);
                }
                OrderKind::Unassign(test) => {
                    self.scopes.end_test(&test, order.boot_ns);
                }
            }
        }
        moved
    }

    fn assign(
        &mut self,
        scope: SettledScope,
        test: TestName,
        since_boot_ns: u64,
        moved: &mut Vec<Slot>,
    ) {
        let root = match scope {
            SettledScope::Tree { root, .. } => Some(root),
            SettledScope::Machine | SettledScope::Cgroup(_) => None,
        };
        let id = self.scopes.add(scope, Arc::clone(&test), since_boot_ns);
        if let Some(root) = root {
            self.plant(id, root);
        }
        for slot in self.ancestry.slots() {
            let Some(member) = self.ancestry.members.get(slot) else { continue };
            let trees = member.has.as_ref().map(|has| &*has.trees).unwrap_or_default();
            if self.decides(id, trees, &member.identity)
                && let Some(member) = self.ancestry.members.get_mut(slot)
            {
                member.test = Some(Arc::clone(&test));
                moved.push(slot);
            }
        }
    }

    fn decides(&self, id: ScopeId, trees: &[ScopeId], identity: &Identity) -> bool {
        self.scopes.deciding(trees, identity, u64::MAX).is_some_and(|scope| scope.id == id)
    }

    /// Puts a new tree into the lists of those who are in it already.
    fn plant(&mut self, id: ScopeId, root: Root) {
        let forked = self.lineage.plant(id, root);
        let root_slot = self.ancestry.slot_of(root.pid).filter(|&slot| {
            self.ancestry.members.get(slot).is_some_and(|member| root.is(&member.identity))
        });
        let root_member = root_slot.and_then(|slot| self.ancestry.members.get(slot));
        // Of a descendant, what it shares with the root stands behind what is nearer to it.
        let outer = root_member.and_then(|member| member.has.as_ref());
        let outer = outer.map_or(0, |has| has.trees.len());
        let slots = self.ancestry.slots();
        let is_inside = |&slot: &Slot| {
            root_slot.is_some_and(|root| self.ancestry.descends(slot, root))
                || self.ancestry.members.get(slot).is_some_and(|member| {
                    if self.scopes.is_in_group(id, &member.identity) {
                        return true;
                    }
                    let Identity { pid, start_ns, .. } = *member.identity;
                    forked.contains(&pid) && self.lineage.parent_of(pid, start_ns).is_some()
                })
        };
        let inside: Vec<Slot> = slots.into_iter().filter(is_inside).collect();
        let count = u32::try_from(inside.len()).unwrap_or(u32::MAX);
        for slot in inside {
            if let Some(member) = self.ancestry.members.get_mut(slot) {
                let has = member.has.get_or_insert_default();
                let (inner, outer) = has.trees.split_at(has.trees.len().saturating_sub(outer));
                has.trees = inner.iter().chain([&id]).chain(outer).copied().collect();
            }
        }
        if let Some(scope) = self.scopes.get_mut(id) {
            (scope.members, scope.root_lives) = (count, root_slot.is_some());
        }
    }

    /// An image is there. Its test is known after [`settle`](Self::settle).
    pub(super) fn begin(&mut self, slot: Slot, identity: &Arc<Identity>) {
        if self.ancestry.begin(slot, identity) {
            self.newcomers.push(slot);
        }
    }

    /// An image is in another control group than before, or something else of it has changed.
    ///
    /// Who moves into the group of a test is of it until it leaves. Who descends from the test stays with it.
    pub(super) fn describe(&mut self, slot: Slot, identity: &Arc<Identity>) {
        let Self { ancestry, scopes, .. } = self;
        let Some(member) = ancestry.members.get_mut(slot) else { return };
        let has_moved = member.identity.cgroup != identity.cgroup;
        member.identity = Arc::clone(identity);
        let Some(has) = member.has.as_mut().filter(|_| has_moved) else { return };
        scopes.remove_member(&has.trees, identity);
        let trees = scopes.without_left(std::mem::take(&mut has.trees), &mut has.joined, identity);
        has.trees = scopes.with_own(trees, &mut has.joined, identity);
        has.inside = scopes.is_in_target(has.inside, identity);
        scopes.add_member(&has.trees);
        let test = scopes.deciding(&has.trees, identity, u64::MAX);
        member.test = test.map(|scope| Arc::clone(&scope.test));
    }

    /// An image has ended.
    pub(super) fn end(&mut self, slot: Slot) {
        let Some(member) = self.ancestry.end(slot) else { return };
        let Member { identity, has, .. } = member;
        let has = has.unwrap_or_default();
        self.scopes.remove_member(&has.trees, &identity);
        if self.scopes.need_ancestry() {
            self.ancestry.remember(identity, has);
        }
    }

    /// The kernel has reported a fork. Comes before the changes of the sweep after it.
    pub(super) fn note_fork(&mut self, fork: ReportedFork) {
        let of_member = inherited_from(&self.ancestry, fork.parent, fork.boot_ns);
        self.lineage.add(fork, of_member, &self.scopes);
    }

    /// The kernel has reported something that was lost. Comes before the forks of the sweep.
    pub(super) fn note_lost_reports(&mut self) {
        self.lineage.note_lost();
    }

    /// Nothing is known of a process but its fork.
    pub(super) fn note_unseen(&mut self, fork: ReportedFork) {
        let lived = (fork.boot_ns, u64::MAX);
        let may_be_of_test = match self.lineage.of_fork(fork.pid, fork.boot_ns) {
            Some(has) => {
                self.scopes.is_of_test(&has.trees, lived)
                    || has.unknown_since_ns.is_some_and(|since| self.scopes.may_have(since, lived))
            }
            None => self.scopes.may_have(fork.boot_ns, lived),
        };
        self.unattributed += u32::from(may_be_of_test);
    }

    /// Returns how many processes may be of a test, and that is not known, since the last call.
    pub(super) fn take_unattributed(&mut self) -> u32 {
        std::mem::take(&mut self.unattributed)
    }

    /// A process has ended that was never sampled. Comes before [`settle`](Self::settle) of the sweep
    /// after its end, in which its children may be found.
    pub(super) fn note_unsampled(&mut self, identity: &Arc<Identity>, ancestors: &[i32]) {
        self.ancestry.note_unsampled(identity, ancestors);
    }

    /// Finds out to whom those belong that have begun since the last call.
    pub(super) fn settle(&mut self) {
        // First those whose forks were not reported: the forks may have been theirs.
        for are_reported in [false, true] {
            for index in 0..self.newcomers.len() {
                let Some(&slot) = self.newcomers.get(index) else { continue };
                let Some(member) = self.ancestry.members.get(slot) else { continue };
                let Identity { pid, start_ns, .. } = *member.identity;
                if self.lineage.parent_of(pid, start_ns).is_some() == are_reported {
                    self.settle_one(slot);
                }
            }
            if !are_reported {
                let Self { lineage, ancestry, scopes, .. } = self;
                lineage.close(|pid, at_ns| inherited_from(ancestry, pid, at_ns), scopes);
            }
        }
        self.newcomers.clear();
    }

    fn settle_one(&mut self, slot: Slot) {
        // Up to somebody whose trees are known, and down again.
        let mut chain = Vec::new();
        let mut at = Some(slot);
        let mut has = Inherited::default();
        let mut is_new = true;
        while let Some(slot) = at.filter(|_| chain.len() < MAX_DEPTH) {
            let Some(member) = self.ancestry.members.get(slot) else { break };
            if let Some(known) = &member.has {
                has = known.of_child();
                break;
            }
            chain.push(slot);
            let identity = &member.identity;
            if let Some(before) = self.ancestry.image_before(identity) {
                has = before.has.clone();
                is_new = false;
                break;
            }
            if let Some(forked) = self.lineage.of(identity) {
                has = forked.clone();
                break;
            }
            at = self
                .ancestry
                .parent(identity)
                .or_else(|| self.ancestry.living_ancestor(identity, &self.scopes));
            if at.is_none() {
                let Identity { ppid, start, start_ns, .. } = **identity;
                let departed = self.ancestry.of_departed_parent(ppid, start, &[], &self.scopes);
                has = departed.unwrap_or_else(|| Inherited::of_unknown(ppid, start_ns));
            }
        }
        while let Some(slot) = chain.pop() {
            let Some(member) = self.ancestry.members.get(slot) else { continue };
            let identity = Arc::clone(&member.identity);
            has.trees = self.scopes.without_left(has.trees, &mut has.joined, &identity);
            has.trees = self.scopes.with_own(has.trees, &mut has.joined, &identity);
            has.inside = self.scopes.is_in_target(has.inside, &identity);
            let test = self.scopes.deciding(&has.trees, &identity, u64::MAX);
            let test = test.map(|scope| Arc::clone(&scope.test));
            self.scopes.add_member(&has.trees);
            if is_new && test.is_none() && self.may_be_of_test(&has, &identity, u64::MAX) {
                self.unattributed += 1;
            }
            is_new = true;
            if let Some(member) = self.ancestry.members.get_mut(slot) {
                (member.has, member.test) = (Some(has.clone()), test);
            }
            has = has.of_child();
        }
    }

    /// Returns whether an image may be of a test, where an ancestor of it is not known.
    fn may_be_of_test(&self, has: &Inherited, identity: &Identity, end_boot_ns: u64) -> bool {
        let lived = (identity.start_ns, end_boot_ns);
        has.trees.is_empty()
            && has.unknown_since_ns.is_some_and(|since| self.scopes.may_have(since, lived))
    }

    /// Returns whether a process that was never sampled is recorded, and its test. The orders from before
    /// its end must have been followed.
    pub(super) fn of_unsampled(
        &mut self,
        identity: &Identity,
        ancestors: &[i32],
        end_boot_ns: u64,
    ) -> (bool, Option<TestName>) {
        // The image that the same process had before knows most.
        let same = self.ancestry.of_pid(identity.pid);
        let same = same.filter(|member| member.identity.start == identity.start);
        let forked = self.lineage.of(identity).filter(|_| same.is_none());
        let parent = same.or_else(|| self.ancestry.living_parent(identity));
        let has = match (forked, parent) {
            (Some(forked), _) => forked.clone(),
            (None, Some(parent)) => parent.has.clone().unwrap_or_default(),
            (None, None) => match self.ancestry.image_before(identity) {
                Some(before) => before.has.clone(),
                None => {
                    let Identity { ppid, start, start_ns, .. } = *identity;
                    let departed =
                        self.ancestry.of_departed_parent(ppid, start, ancestors, &self.scopes);
                    departed.unwrap_or_else(|| Inherited::of_unknown(ppid, start_ns))
                }
            },
        };
        let trees = self.scopes.with_possible_own(&has.trees, identity);
        let departed = self.ancestry.departed(identity.ppid, identity.start);
        let mut identity = identity.clone();
        if identity.cgroup.is_none() {
            // A child begins in the group of its parent.
            let parent = parent.map(|parent| &*parent.identity);
            let parent = parent.or_else(|| Some(departed?.identity()));
            identity.cgroup = parent.and_then(|parent| parent.cgroup.clone());
        }
        let test = self.scopes.deciding(&trees, &identity, end_boot_ns);
        let test = test.map(|scope| Arc::clone(&scope.test));
        let inside =
            self.scopes.is_in_target(has.inside, &identity) && self.scopes.target_counts(&identity);
        if test.is_none() && self.may_be_of_test(&has, &identity, end_boot_ns) {
            self.unattributed += 1;
        }
        (inside, test)
    }

    /// Returns the test of an image.
    pub(super) fn test(&self, slot: Slot) -> Option<TestName> {
        self.ancestry.members.get(slot)?.test.clone()
    }

    /// Returns whether nothing is outside of the target.
    pub(super) fn takes_all(&self) -> bool {
        self.scopes.takes_all()
    }

    /// Returns the image that a process has now.
    pub(super) fn slot_of(&self, pid: i32) -> Option<Slot> {
        self.ancestry.slot_of(pid)
    }

    /// Returns whether an image is in the target of the recording.
    pub(super) fn is_inside(&self, slot: Slot) -> bool {
        let member = self.ancestry.members.get(slot);
        member.is_some_and(|member| {
            member.has.as_ref().is_some_and(|has| has.inside)
                && self.scopes.target_counts(&member.identity)
        })
    }

    /// Forgets scopes that are over: a sweep has ended.
    pub(super) fn end_sweep(&mut self) {
        self.ancestry.end_sweep();
        self.scopes.end_sweep();
        let Self { lineage, ancestry, scopes, .. } = self;
        lineage.end_sweep(scopes.need_ancestry(), |pid| ancestry.slot_of(pid).is_some());
    }
}

/// Returns what a child inherits of a process that lives and is settled, and when that began.
fn inherited_from(ancestry: &Ancestry, pid: i32, at_ns: u64) -> Option<(u64, Inherited)> {
    let member = ancestry.of_pid(pid)?;
    let start_ns = member.identity.start_ns;
    let has = member.has.as_ref().filter(|_| start_ns <= at_ns)?;
    Some((start_ns, has.of_child()))
}

#[cfg(test)]
mod tests;
