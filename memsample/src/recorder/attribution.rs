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
                has = known.clone();
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
            has.trees = self.scopes.with_own(has.trees, &identity);
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
    Some((start_ns, has.clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::scopes::SWEEPS_AFTER;
    use super::*;
    use crate::identity::{Comm, ProcessId};
    use crate::units::ClockTicks;

    fn identity(pid: i32, ppid: i32, exec: u32, cgroup: &str) -> Arc<Identity> {
        Arc::new(Identity {
            process: ProcessId(0),
            pid,
            start: ClockTicks(u64::from(pid.unsigned_abs())),
            start_ns: u64::from(pid.unsigned_abs()),
            exec,
            ppid,
            uid: None,
            comm: Comm::new(b"x"),
            exe: None,
            cmdline: Vec::new(),
            cgroup: Some(cgroup.as_bytes().to_vec()),
            role: String::new(),
        })
    }

    struct World {
        attribution: Attribution,
        count: Arc<AtomicUsize>,
        now: u64,
    }

    impl World {
        fn new() -> Self {
            let count = Arc::new(AtomicUsize::new(0));
            Self {
                attribution: Attribution::new(SettledScope::Machine, Arc::clone(&count)),
                count,
                now: 1000,
            }
        }

        fn assign(&mut self, scope: SettledScope, test: &str) {
            self.count.fetch_add(1, Ordering::AcqRel);
            let kind = OrderKind::Assign(scope, test.into());
            self.attribution.order(Order { boot_ns: self.now, kind });
        }

        fn sweep(&mut self, ended: &[u32], begun: &[(u32, Arc<Identity>)]) {
            self.now += 1;
            self.attribution.apply_orders(self.now);
            ended.iter().for_each(|&slot| self.attribution.end(Slot(slot)));
            begun.iter().for_each(|(slot, identity)| self.attribution.begin(Slot(*slot), identity));
            self.attribution.settle();
            self.attribution.end_sweep();
        }

        fn tests<const N: usize>(&self, slots: [u32; N]) -> [Option<String>; N] {
            slots.map(|slot| self.attribution.test(Slot(slot)).map(|test| test.to_string()))
        }
    }

    fn tree(pid: i32) -> SettledScope {
        let start = ClockTicks(u64::from(pid.unsigned_abs()));
        SettledScope::Tree { root: Root { pid, start, launcher: None }, group: None }
    }

    fn some<const N: usize>(tests: [&str; N]) -> [Option<String>; N] {
        tests.map(|test| Some(test.to_owned()).filter(|test| !test.is_empty()))
    }

    #[test]
    fn a_tree_is_inherited_whatever_the_order_and_survives_parents() {
        let mut world = World::new();
        world.sweep(&[], &[(0, identity(10, 1, 0, "/"))]);
        world.assign(tree(20), "a");
        // The grandchild stands before its parent, as when pids wrapped.
        world.sweep(
            &[],
            &[
                (3, identity(22, 21, 0, "/")),
                (2, identity(21, 20, 0, "/")),
                (1, identity(20, 10, 0, "/")),
            ],
        );
        assert_eq!(world.tests([0, 1, 2, 3]), some(["", "a", "a", "a"]));
        // Root and child end; a child of the child is found in the same sweep, one of the orphan later.
        world.sweep(&[1, 2], &[(4, identity(30, 21, 0, "/"))]);
        world.sweep(&[], &[(5, identity(31, 22, 0, "/"))]);
        assert_eq!(world.tests([3, 4, 5]), some(["a", "a", "a"]));
        assert_eq!(world.count.load(Ordering::Acquire), 1);
        world.sweep(&[3, 4, 5], &[]);
        (0..SWEEPS_AFTER).for_each(|_| world.sweep(&[], &[]));
        assert_eq!(world.count.load(Ordering::Acquire), 0);
        // A pid that is used again is none of its children.
        world.sweep(&[], &[(6, identity(40, 20, 0, "/"))]);
        assert_eq!(world.tests([6]), some([""]));
    }

    #[test]
    fn those_who_live_already_are_taken_and_the_innermost_wins() {
        let mut world = World::new();
        world.sweep(
            &[],
            &[
                (0, identity(10, 1, 0, "/")),
                (1, identity(11, 10, 0, "/")),
                (2, identity(12, 11, 0, "/")),
            ],
        );
        world.assign(tree(11), "inner");
        world.sweep(&[], &[]);
        assert_eq!(world.tests([0, 1, 2]), some(["", "inner", "inner"]));
        world.assign(tree(10), "outer");
        world.sweep(&[], &[(3, identity(13, 12, 0, "/")), (4, identity(14, 10, 0, "/"))]);
        assert_eq!(
            world.tests([0, 1, 2, 3, 4]),
            some(["outer", "inner", "inner", "inner", "outer"])
        );
        world.assign(SettledScope::Machine, "all");
        world.sweep(&[], &[(5, identity(15, 1, 0, "/"))]);
        assert_eq!(world.tests([0, 1, 5]), some(["outer", "inner", "all"]));
    }

    #[test]
    fn control_groups_are_read_anew_at_an_exec_and_trees_are_kept() {
        let mut world = World::new();
        world.assign(SettledScope::Cgroup(b"/run".to_vec()), "run");
        world.assign(SettledScope::Cgroup(b"/run/one".to_vec()), "one");
        world.assign(tree(20), "tree");
        world.sweep(
            &[],
            &[
                (0, identity(10, 1, 0, "/run/other")),
                (1, identity(11, 1, 0, "/run/one/deep")),
                (2, identity(12, 1, 0, "/runner")),
                (3, identity(20, 1, 0, "/run/one")),
            ],
        );
        assert_eq!(world.tests([0, 1, 2, 3]), some(["run", "one", "", "tree"]));
        world.sweep(&[2, 3], &[(4, identity(12, 1, 1, "/run/one")), (5, identity(20, 1, 1, "/"))]);
        assert_eq!(world.tests([4, 5]), some(["one", "tree"]));
    }

    #[test]
    fn what_began_before_the_end_of_a_test_is_of_it_and_what_began_later_not() {
        let mut world = World::new();
        world.assign(SettledScope::Cgroup(b"/t".to_vec()), "t");
        world.sweep(&[], &[(0, identity(10, 1, 0, "/t"))]);
        world
            .attribution
            .order(Order { boot_ns: world.now, kind: OrderKind::Unassign("t".into()) });
        let late = i32::try_from(world.now).unwrap() + 1;
        world.sweep(&[], &[(1, identity(900, 10, 0, "/t")), (2, identity(late, 10, 0, "/t"))]);
        assert_eq!(world.tests([0, 1, 2]), some(["t", "t", ""]));
        (0..SWEEPS_AFTER).for_each(|_| world.sweep(&[], &[]));
        assert_eq!(world.count.load(Ordering::Acquire), 0);
    }

    fn named(comm: &[u8], identity: &Identity) -> Arc<Identity> {
        Arc::new(Identity { comm: Comm::new(comm), ..identity.clone() })
    }

    #[test]
    fn of_what_is_launched_neither_the_launcher_counts_nor_who_has_its_name() {
        let mut world = World::new();
        let launcher = Some(Comm::new(b"launch"));
        let root = Root { pid: 20, start: ClockTicks(20), launcher };
        world.assign(SettledScope::Tree { root, group: None }, "t");
        let init = named(b"launch", &identity(20, 1, 0, "/"));
        let gate = named(b"launch", &identity(21, 20, 1, "/"));
        world.sweep(&[], &[(0, init), (1, gate)]);
        assert_eq!(world.tests([0, 1]), some(["", ""]));
        let program = named(b"sh", &identity(21, 20, 2, "/"));
        world.sweep(&[1], &[(2, program), (3, identity(22, 21, 0, "/"))]);
        assert_eq!(world.tests([2, 3]), some(["t", "t"]));
        // A gate that never became a program, and one that did, between two sweeps.
        let mut of = |comm: &[u8]| {
            let ended = named(comm, &identity(23, 20, 1, "/"));
            world.attribution.of_unsampled(&ended, &[], u64::MAX).1.map(|test| test.to_string())
        };
        assert_eq!([of(b"launch"), of(b"true")], some(["", "t"]));
    }

    #[test]
    fn what_is_forked_by_who_was_never_seen_belongs_to_who_forked_that() {
        let mut world = World::new();
        world.assign(tree(20), "tree");
        world.assign(tree(40), "unseen root");
        world.sweep(&[], &[(0, identity(20, 1, 0, "/"))]);
        // 20 forked 21, that 22, and that 23; only the last is there when it is looked. 40 forked 41.
        for brief in [identity(22, 21, 0, "/"), identity(21, 20, 0, "/"), identity(41, 40, 0, "/")]
        {
            world.attribution.note_unsampled(&brief, &[]);
        }
        world.sweep(&[], &[(1, identity(23, 22, 0, "/")), (2, identity(42, 41, 0, "/"))]);
        assert_eq!(world.tests([1, 2]), some(["tree", "unseen root"]));
        let mut unseen = |pid, ppid| {
            let identity = identity(pid, ppid, 0, "/");
            world.attribution.of_unsampled(&identity, &[], u64::MAX).1.map(|test| test.to_string())
        };
        assert_eq!([unseen(24, 22), unseen(43, 41)], some(["tree", "unseen root"]));
        // Its parent lives and was not looked at yet: the kernel told who forked that.
        let child = identity(52, 51, 0, "/");
        let told = world.attribution.of_unsampled(&child, &[50, 20], u64::MAX).1;
        assert_eq!([told.map(|test| test.to_string())], some(["tree"]));
        // So it did of a parent that has ended.
        world.attribution.note_unsampled(&identity(61, 60, 0, "/"), &[20]);
        let told = world.attribution.of_unsampled(&identity(62, 61, 0, "/"), &[], u64::MAX).1;
        assert_eq!([told.map(|test| test.to_string())], some(["tree"]));
        // After some sweeps nothing can be forked by them any more.
        (0..SWEEPS_AFTER).for_each(|_| world.sweep(&[], &[]));
        assert_eq!(world.attribution.ancestry.unsampled.len(), 0);
    }

    #[test]
    fn what_had_ended_before_a_test_began_is_not_of_it() {
        let mut world = World::new();
        world.sweep(&[], &[(0, identity(10, 1, 0, "/"))]);
        world.assign(SettledScope::Machine, "all");
        let assigned_ns = world.now;
        world.sweep(&[], &[]);
        let ended = identity(11, 10, 0, "/");
        let mut of = |end_ns| world.attribution.of_unsampled(&ended, &[], end_ns).1.is_some();
        assert_eq!([of(assigned_ns - 1), of(assigned_ns)], [false, true]);
    }

    #[test]
    fn a_process_that_was_never_seen_belongs_to_its_parents() {
        let mut world = World::new();
        world.assign(tree(20), "tree");
        world.assign(SettledScope::Cgroup(b"/t".to_vec()), "group");
        world.sweep(&[], &[(0, identity(21, 20, 0, "/")), (1, identity(30, 1, 0, "/t"))]);
        let mut unseen = |pid, ppid| {
            let mut identity = Identity::clone(&identity(pid, ppid, 0, ""));
            identity.cgroup = None;
            world.attribution.of_unsampled(&identity, &[], u64::MAX).1.map(|test| test.to_string())
        };
        assert_eq!(
            [unseen(20, 1), unseen(22, 21), unseen(31, 30), unseen(50, 1)],
            some(["tree", "tree", "group", ""])
        );
    }
}
