//! Which test a process image belongs to, and whether it is recorded at all.
//!
//! Settled once for each image, when it is first seen: a sweep that finds nobody new costs nothing
//! here. Being in a tree is inherited, so that a child keeps its test when its parent ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::settled_scope::{Root, SettledScope};
use crate::identity::Identity;
use crate::scope::is_within;
use crate::slot::Slot;
use crate::slot_map::SlotMap;
use crate::units::ClockTicks;

/// The name of a test.
pub(crate) type TestName = Arc<str>;

/// Scopes that are live, at most: to look through them takes tens of microseconds for a new process.
pub(super) const MAX_SCOPES: usize = 4096;

/// Members of trees that have ended and whose children may still be found, at most. A child is found
/// one sweep after its parent has ended, or its exit record two.
const MAX_DEPARTED: usize = 4096;
/// Generations between a process and the ancestor that is looked for. What is deeper is not found.
const MAX_DEPTH: usize = 4096;
/// Sweeps for which a scope is kept when it is over: the processes of its last moments are found in
/// the next one, and their exit records in the one after.
const SWEEPS_AFTER: u32 = 3;

/// What a caller said, and when.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) boot_ns: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Assign(SettledScope, TestName),
    Unassign(TestName),
}

/// In the order in which scopes were assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ScopeId(u32);

/// The trees that an image is in, the innermost first.
type Trees = Arc<[ScopeId]>;

struct LiveScope {
    id: ScopeId,
    scope: SettledScope,
    test: TestName,
    /// Of a tree: members that live.
    members: u32,
    /// Of a tree: whether its root has been seen, and no end of it.
    root_lives: bool,
    /// Processes that ended before are no members.
    since_boot_ns: u64,
    /// Processes that began later are no members.
    until_boot_ns: Option<u64>,
    /// Sweeps since it is over, or since it began if it has no member.
    sweeps: u32,
}

struct Member {
    identity: Arc<Identity>,
    /// `None` until it is settled.
    trees: Option<Trees>,
    /// Whether it is in the target.
    inside: bool,
    test: Option<TestName>,
}

/// A member of trees that has ended.
struct Departed {
    identity: Arc<Identity>,
    trees: Trees,
    inside: bool,
}

/// A process that was never looked at and has ended.
struct BriefLife {
    identity: Arc<Identity>,
    /// The ancestors behind its parent that were not looked at then, the nearest first.
    forebears: Vec<i32>,
    /// Sweeps since its record came.
    sweeps: u32,
}

/// The scopes of a recording, and the process images that are alive.
pub(super) struct Attribution {
    target: SettledScope,
    /// Ascending by number.
    scopes: Vec<LiveScope>,
    next: u32,
    /// How many scopes there are, waiting orders included.
    count: Arc<AtomicUsize>,
    orders: VecDeque<Order>,
    members: SlotMap<Member>,
    by_pid: HashMap<i32, Slot>,
    departed: VecDeque<Departed>,
    /// Processes that were never looked at and have ended, by pid: what they forked is of their trees.
    brief: HashMap<i32, BriefLife>,
    newcomers: Vec<Slot>,
}

impl Attribution {
    pub(super) fn new(target: SettledScope, count: Arc<AtomicUsize>) -> Self {
        Self {
            target,
            scopes: Vec::new(),
            next: 0,
            count,
            orders: VecDeque::new(),
            members: SlotMap::default(),
            by_pid: HashMap::new(),
            departed: VecDeque::new(),
            brief: HashMap::new(),
            newcomers: Vec::new(),
        }
    }

    /// Takes an order, to be followed from the first sweep on that began after it was given.
    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// Follows the orders that were given before `now_ns`, and returns the images that changed tests.
    pub(super) fn follow_orders(&mut self, now_ns: u64) -> Vec<Slot> {
        let mut moved = Vec::new();
        while self.orders.front().is_some_and(|order| order.boot_ns <= now_ns) {
            let Some(order) = self.orders.pop_front() else { break };
            match order.what {
                What::Assign(scope, test) => {
                    self.assign(scope, test, order.boot_ns, &mut moved);
                }
                What::Unassign(test) => {
                    let scopes = self.scopes.iter_mut().filter(|scope| scope.test == test);
                    scopes.for_each(|scope| {
                        scope.until_boot_ns.get_or_insert(order.boot_ns);
                    });
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
        let id = ScopeId(self.next);
        self.next += 1;
        let root = match scope {
            SettledScope::Tree(root) => Some(root),
            SettledScope::Machine | SettledScope::Cgroup(_) => None,
        };
        let (members, root_lives) = (0, false);
        self.scopes.push(LiveScope {
            id,
            scope,
            test: Arc::clone(&test),
            members,
            root_lives,
            since_boot_ns,
            until_boot_ns: None,
            sweeps: 0,
        });
        if let Some(root) = root {
            self.plant(id, root);
        }
        let slots: Vec<Slot> = self.members.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(member) = self.members.get(slot) else { continue };
            let trees = member.trees.as_deref().unwrap_or_default();
            if self.winner(trees, &member.identity, u64::MAX).is_some_and(|scope| scope.id == id)
                && let Some(member) = self.members.get_mut(slot)
            {
                member.test = Some(Arc::clone(&test));
                moved.push(slot);
            }
        }
    }

    /// Puts a new tree into the lists of those who are in it already.
    fn plant(&mut self, id: ScopeId, root: Root) {
        let Some(&root_slot) = self.by_pid.get(&root.pid) else { return };
        let Some(member) = self.members.get(root_slot).filter(|member| root.is(&member.identity))
        else {
            return;
        };
        // Of a descendant, what it shares with the root stands behind what is nearer to it.
        let outer = member.trees.as_ref().map_or(0, |trees| trees.len());
        let slots: Vec<Slot> = self.members.iter().map(|(slot, _)| slot).collect();
        let inside: Vec<Slot> =
            slots.into_iter().filter(|&slot| self.descends(slot, root_slot)).collect();
        let count = u32::try_from(inside.len()).unwrap_or(u32::MAX);
        for slot in inside {
            if let Some(member) = self.members.get_mut(slot) {
                let trees = member.trees.as_deref().unwrap_or_default();
                let (inner, outer) = trees.split_at(trees.len().saturating_sub(outer));
                member.trees = Some(inner.iter().chain([&id]).chain(outer).copied().collect());
            }
        }
        if let Some(scope) = self.scope_mut(id) {
            (scope.members, scope.root_lives) = (count, true);
        }
    }

    /// Says whether an image is another or descends from it, by parents that live.
    fn descends(&self, slot: Slot, from: Slot) -> bool {
        let mut at = Some(slot);
        for _ in 0..MAX_DEPTH {
            match at {
                Some(slot) if slot == from => return true,
                Some(slot) => {
                    at = self.members.get(slot).and_then(|member| self.parent(&member.identity));
                }
                None => return false,
            }
        }
        false
    }

    fn parent(&self, of: &Identity) -> Option<Slot> {
        let slot = *self.by_pid.get(&of.ppid).filter(|_| of.ppid != of.pid)?;
        // Who began later has only got the pid of the parent.
        (self.members.get(slot)?.identity.start <= of.start).then_some(slot)
    }

    fn scope_mut(&mut self, id: ScopeId) -> Option<&mut LiveScope> {
        let index = self.scopes.binary_search_by_key(&id, |scope| scope.id).ok()?;
        self.scopes.get_mut(index)
    }

    /// An image is there. Its test is known after [`settle`](Self::settle).
    pub(super) fn begin(&mut self, slot: Slot, identity: &Arc<Identity>) {
        let member =
            Member { identity: Arc::clone(identity), trees: None, inside: false, test: None };
        if self.members.insert(slot, member).is_some() {
            self.by_pid.insert(identity.pid, slot);
            self.newcomers.push(slot);
        }
    }

    /// An image has ended.
    pub(super) fn end(&mut self, slot: Slot) {
        let Some(member) = self.members.remove(slot) else { return };
        let Member { identity, trees, inside, .. } = member;
        if self.by_pid.get(&identity.pid) == Some(&slot) {
            self.by_pid.remove(&identity.pid);
        }
        let trees = trees.unwrap_or_default();
        for scope in &mut self.scopes {
            scope.members -= u32::from(trees.contains(&scope.id)).min(scope.members);
            if let SettledScope::Tree(root) = scope.scope {
                scope.root_lives &= !root.is(&identity);
            }
        }
        if !self.scopes.is_empty() || self.target != SettledScope::Machine {
            if self.departed.len() >= MAX_DEPARTED {
                self.departed.pop_front();
            }
            self.departed.push_back(Departed { identity, trees, inside });
        }
    }

    /// A process has ended that was never looked at. Told before [`settle`](Self::settle) of the sweep
    /// after its end, in which its children may be found.
    pub(super) fn note_brief_life(&mut self, identity: &Arc<Identity>, forebears: &[i32]) {
        if self.brief.len() < MAX_DEPARTED {
            let (identity, forebears) = (Arc::clone(identity), forebears.to_vec());
            self.brief.insert(identity.pid, BriefLife { identity, forebears, sweeps: 0 });
        }
    }

    /// Finds out to whom those belong that have begun since the last call.
    pub(super) fn settle(&mut self) {
        for index in 0..self.newcomers.len() {
            if let Some(&slot) = self.newcomers.get(index) {
                self.settle_one(slot);
            }
        }
        self.newcomers.clear();
    }

    fn settle_one(&mut self, slot: Slot) {
        // Up to somebody whose trees are known, and down again.
        let mut chain = Vec::new();
        let mut at = Some(slot);
        let (mut trees, mut inside) = (Trees::default(), false);
        while let Some(slot) = at.filter(|_| chain.len() < MAX_DEPTH) {
            let Some(member) = self.members.get(slot) else { break };
            if let Some(known) = &member.trees {
                (trees, inside) = (Arc::clone(known), member.inside);
                break;
            }
            chain.push(slot);
            let identity = &member.identity;
            if let Some(before) = self.image_before(identity) {
                (trees, inside) = (Arc::clone(&before.trees), before.inside);
                break;
            }
            at = self.parent(identity).or_else(|| self.living_ancestor(identity));
            if at.is_none() {
                (trees, inside) = self.of_departed_parent(identity.ppid, identity.start, &[]);
            }
        }
        while let Some(slot) = chain.pop() {
            let Some(member) = self.members.get(slot) else { continue };
            let identity = Arc::clone(&member.identity);
            trees = self.with_own(trees, &identity);
            inside = self.is_in_target(inside, &identity);
            let test = self.winner(&trees, &identity, u64::MAX);
            let test = test.map(|scope| Arc::clone(&scope.test));
            for scope in &mut self.scopes {
                scope.members += u32::from(trees.contains(&scope.id));
            }
            if let Some(member) = self.members.get_mut(slot) {
                (member.trees, member.inside, member.test) =
                    (Some(Arc::clone(&trees)), inside, test);
            }
        }
    }

    /// Returns the image that an exec has ended.
    fn image_before(&self, identity: &Identity) -> Option<&Departed> {
        let same = |ended: &&Departed| {
            (ended.identity.pid, ended.identity.start) == (identity.pid, identity.start)
        };
        self.departed.iter().rev().find(same).filter(|_| identity.exec > 0)
    }

    fn departed(&self, pid: i32, child_start: ClockTicks) -> Option<&Departed> {
        let is_parent =
            |ended: &&Departed| ended.identity.pid == pid && ended.identity.start <= child_start;
        self.departed.iter().rev().find(is_parent)
    }

    fn brief_life(&self, pid: i32, child_start: ClockTicks) -> Option<&BriefLife> {
        self.brief.get(&pid).filter(|brief| brief.identity.start <= child_start)
    }

    /// Returns the nearest ancestor that is there, where all between were never looked at and none of
    /// them is the root of a tree.
    fn living_ancestor(&self, identity: &Identity) -> Option<Slot> {
        let (mut pid, mut start) = (identity.ppid, identity.start);
        for _ in 0..MAX_DEPTH {
            if self.departed(pid, start).is_some() || self.roots(pid, start).next().is_some() {
                return None;
            }
            let brief = &self.brief_life(pid, start)?.identity;
            if let Some(slot) = self.parent(brief) {
                return Some(slot);
            }
            (pid, start) = (brief.ppid, brief.start);
        }
        None
    }

    /// Returns the trees whose root a process may be that was never looked at, and for that of the
    /// target `None`; of its start it is known that it was before that of a child.
    fn roots(&self, pid: i32, child_start: ClockTicks) -> impl Iterator<Item = Option<ScopeId>> {
        let is_root = move |scope: &SettledScope| match scope {
            SettledScope::Tree(root) => root.pid == pid && root.start <= child_start,
            SettledScope::Machine | SettledScope::Cgroup(_) => false,
        };
        let scopes = self.scopes.iter().rev().filter(move |scope| is_root(&scope.scope));
        let target = is_root(&self.target).then_some(None);
        scopes.map(|scope| Some(scope.id)).chain(target)
    }

    /// Returns what a child inherits whose parent is not there any more, or never was seen; `forebears`
    /// are the ancestors behind that, as far as they are known.
    fn of_departed_parent(
        &self,
        ppid: i32,
        child_start: ClockTicks,
        forebears: &[i32],
    ) -> (Trees, bool) {
        let (mut trees, mut inside) = (Vec::new(), false);
        let (mut pid, mut start) = (ppid, child_start);
        let mut forebears = forebears.iter();
        for _ in 0..MAX_DEPTH {
            if let Some(parent) = self.departed(pid, start) {
                trees.extend_from_slice(&parent.trees);
                inside |= parent.inside;
                break;
            }
            for root in self.roots(pid, start) {
                trees.extend(root);
                inside |= root.is_none();
            }
            let brief = self.brief_life(pid, start);
            pid = match (forebears.next(), brief) {
                (Some(&pid), _) => pid,
                (None, Some(brief)) => {
                    forebears = brief.forebears.iter();
                    brief.identity.ppid
                }
                (None, None) => break,
            };
            start = brief.map_or(start, |brief| brief.identity.start);
            let member = self.by_pid.get(&pid).and_then(|&slot| self.members.get(slot));
            if let Some(member) = member.filter(|member| member.identity.start <= start) {
                trees.extend_from_slice(member.trees.as_deref().unwrap_or_default());
                inside |= member.inside;
                break;
            }
        }
        (trees.into(), inside)
    }

    /// Adds the trees of which a process is the root.
    fn with_own(&mut self, trees: Trees, identity: &Identity) -> Trees {
        let mut own = Vec::new();
        for scope in self.scopes.iter_mut().rev() {
            if let SettledScope::Tree(root) = scope.scope
                && root.is(identity)
            {
                scope.root_lives = true;
                if !trees.contains(&scope.id) {
                    own.push(scope.id);
                }
            }
        }
        if own.is_empty() { trees } else { own.iter().chain(trees.iter()).copied().collect() }
    }

    /// Says whether a process is in the target, of which what it forks inherits.
    fn is_in_target(&self, inherited: bool, identity: &Identity) -> bool {
        match &self.target {
            SettledScope::Machine => true,
            SettledScope::Tree(root) => inherited || root.is(identity),
            SettledScope::Cgroup(group) => {
                identity.cgroup.as_deref().is_some_and(|path| is_within(path, group))
            }
        }
    }

    /// Returns the scope that decides on the test of an image: the innermost tree against the
    /// innermost control group, and of these the one that was assigned later.
    fn winner(
        &self,
        trees: &[ScopeId],
        identity: &Identity,
        end_boot_ns: u64,
    ) -> Option<&LiveScope> {
        let start_ns = identity.start_ns;
        let is_open = |scope: &&LiveScope| {
            scope.since_boot_ns <= end_boot_ns
                && scope.until_boot_ns.is_none_or(|until| start_ns <= until)
        };
        let by_id = |id: &ScopeId| {
            let index = self.scopes.binary_search_by_key(id, |scope| scope.id).ok()?;
            self.scopes.get(index)
        };
        let counts = |scope: &&LiveScope| match scope.scope {
            SettledScope::Tree(root) => root.counts(identity),
            SettledScope::Machine | SettledScope::Cgroup(_) => true,
        };
        let tree = trees.iter().filter_map(by_id).find(|scope| is_open(scope) && counts(scope));
        let mut inner: Option<(usize, &LiveScope)> = None;
        let mut machine = None;
        for scope in self.scopes.iter().filter(is_open) {
            match &scope.scope {
                SettledScope::Machine => machine = Some(scope),
                SettledScope::Tree(_) => {}
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

    /// Returns whether a process that was never sampled is recorded, and its test. The orders from before
    /// its end must have been followed.
    pub(super) fn of_unsampled(
        &self,
        identity: &Identity,
        forebears: &[i32],
        end_boot_ns: u64,
    ) -> (bool, Option<TestName>) {
        // The image that the same process had before knows most.
        let same = self.by_pid.get(&identity.pid).and_then(|&slot| self.members.get(slot));
        let same = same.filter(|member| member.identity.start == identity.start);
        let parent = self.parent(identity).and_then(|slot| self.members.get(slot));
        let parent = same.or(parent);
        let departed = self.departed(identity.ppid, identity.start);
        let (trees, inside) = match parent {
            Some(parent) => (parent.trees.clone().unwrap_or_default(), parent.inside),
            None => match self.image_before(identity) {
                Some(before) => (Arc::clone(&before.trees), before.inside),
                None => self.of_departed_parent(identity.ppid, identity.start, forebears),
            },
        };
        let own = |scope: &&LiveScope| match scope.scope {
            // Its start is known to the clock tick, or too late.
            SettledScope::Tree(root) => root.pid == identity.pid && root.start <= identity.start,
            SettledScope::Machine | SettledScope::Cgroup(_) => false,
        };
        let own = self.scopes.iter().rev().filter(own).map(|scope| scope.id);
        let own = own.filter(|id| !trees.contains(id));
        let trees: Vec<ScopeId> = own.chain(trees.iter().copied()).collect();
        let mut identity = identity.clone();
        if identity.cgroup.is_none() {
            // A child begins in the group of its parent.
            let parent = parent.map(|parent| &parent.identity);
            let parent = parent.or_else(|| Some(&departed?.identity));
            identity.cgroup = parent.and_then(|parent| parent.cgroup.clone());
        }
        let test = self.winner(&trees, &identity, end_boot_ns);
        let test = test.map(|scope| Arc::clone(&scope.test));
        let inside = self.is_in_target(inside, &identity) && self.target_counts(&identity);
        (inside, test)
    }

    /// Says whether an image in the target is recorded.
    fn target_counts(&self, identity: &Identity) -> bool {
        match self.target {
            SettledScope::Tree(root) => root.counts(identity),
            SettledScope::Machine | SettledScope::Cgroup(_) => true,
        }
    }

    /// Returns the test of an image.
    pub(super) fn test(&self, slot: Slot) -> Option<TestName> {
        self.members.get(slot)?.test.clone()
    }

    /// Says whether nothing is outside of the target.
    pub(super) fn takes_all(&self) -> bool {
        self.target == SettledScope::Machine
    }

    /// Returns the image that a process has now.
    pub(super) fn slot_of(&self, pid: i32) -> Option<Slot> {
        self.by_pid.get(&pid).copied()
    }

    /// Says whether an image is in the target of the recording.
    pub(super) fn is_inside(&self, slot: Slot) -> bool {
        let member = self.members.get(slot);
        member.is_some_and(|member| member.inside && self.target_counts(&member.identity))
    }

    /// Forgets scopes that are over: a sweep has ended.
    pub(super) fn end_sweep(&mut self) {
        self.brief.retain(|_, brief| {
            brief.sweeps += 1;
            brief.sweeps < SWEEPS_AFTER
        });
        let before = self.scopes.len();
        self.scopes.retain_mut(|scope| {
            let is_empty_tree = matches!(scope.scope, SettledScope::Tree(_))
                && scope.members == 0
                && !scope.root_lives;
            if is_empty_tree || scope.until_boot_ns.is_some() {
                scope.sweeps += 1;
            } else {
                scope.sweeps = 0;
            }
            scope.sweeps < SWEEPS_AFTER
        });
        self.count.fetch_sub(before - self.scopes.len(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Comm, ProcessId};

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
            let what = What::Assign(scope, test.into());
            self.attribution.order(Order { boot_ns: self.now, what });
        }

        fn sweep(&mut self, ended: &[u32], begun: &[(u32, Arc<Identity>)]) {
            self.now += 1;
            self.attribution.follow_orders(self.now);
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
        SettledScope::Tree(Root { pid, start, launcher: None })
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
        world.attribution.order(Order { boot_ns: world.now, what: What::Unassign("t".into()) });
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
        world.assign(SettledScope::Tree(root), "t");
        let init = named(b"launch", &identity(20, 1, 0, "/"));
        let gate = named(b"launch", &identity(21, 20, 1, "/"));
        world.sweep(&[], &[(0, init), (1, gate)]);
        assert_eq!(world.tests([0, 1]), some(["", ""]));
        let program = named(b"sh", &identity(21, 20, 2, "/"));
        world.sweep(&[1], &[(2, program), (3, identity(22, 21, 0, "/"))]);
        assert_eq!(world.tests([2, 3]), some(["t", "t"]));
        // A gate that never became a program, and one that did, between two sweeps.
        let of = |comm: &[u8]| {
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
            world.attribution.note_brief_life(&brief, &[]);
        }
        world.sweep(&[], &[(1, identity(23, 22, 0, "/")), (2, identity(42, 41, 0, "/"))]);
        assert_eq!(world.tests([1, 2]), some(["tree", "unseen root"]));
        let unseen = |pid, ppid| {
            let identity = identity(pid, ppid, 0, "/");
            world.attribution.of_unsampled(&identity, &[], u64::MAX).1.map(|test| test.to_string())
        };
        assert_eq!([unseen(24, 22), unseen(43, 41)], some(["tree", "unseen root"]));
        // Its parent lives and was not looked at yet: the kernel told who forked that.
        let child = identity(52, 51, 0, "/");
        let told = world.attribution.of_unsampled(&child, &[50, 20], u64::MAX).1;
        assert_eq!([told.map(|test| test.to_string())], some(["tree"]));
        // So it did of a parent that has ended.
        world.attribution.note_brief_life(&identity(61, 60, 0, "/"), &[20]);
        let told = world.attribution.of_unsampled(&identity(62, 61, 0, "/"), &[], u64::MAX).1;
        assert_eq!([told.map(|test| test.to_string())], some(["tree"]));
        // After some sweeps nothing can be forked by them any more.
        (0..SWEEPS_AFTER).for_each(|_| world.sweep(&[], &[]));
        assert_eq!(world.attribution.brief.len(), 0);
    }

    #[test]
    fn what_had_ended_before_a_test_began_is_not_of_it() {
        let mut world = World::new();
        world.sweep(&[], &[(0, identity(10, 1, 0, "/"))]);
        world.assign(SettledScope::Machine, "all");
        let assigned_ns = world.now;
        world.sweep(&[], &[]);
        let ended = identity(11, 10, 0, "/");
        let of = |end_ns| world.attribution.of_unsampled(&ended, &[], end_ns).1.is_some();
        assert_eq!([of(assigned_ns - 1), of(assigned_ns)], [false, true]);
    }

    #[test]
    fn a_process_that_was_never_seen_belongs_to_its_parents() {
        let mut world = World::new();
        world.assign(tree(20), "tree");
        world.assign(SettledScope::Cgroup(b"/t".to_vec()), "group");
        world.sweep(&[], &[(0, identity(21, 20, 0, "/")), (1, identity(30, 1, 0, "/t"))]);
        let unseen = |pid, ppid| {
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
