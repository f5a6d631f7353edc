//! Scopes, trees and control groups, in small worlds.

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
        moved: false,
        role: String::new(),
        replaced_max_rss_bytes: None,
        memory_map: None,
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
    assert_eq!(world.tests([0, 1, 2, 3, 4]), some(["outer", "inner", "inner", "inner", "outer"]));
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
    world.attribution.order(Order { boot_ns: world.now, kind: OrderKind::Unassign("t".into()) });
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
    for brief in [identity(22, 21, 0, "/"), identity(21, 20, 0, "/"), identity(41, 40, 0, "/")] {
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
