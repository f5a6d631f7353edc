//! A simulated kernel: processes fork, execute programs and exit in any order, between ticks and across them, and reports
//! of it are lost. What belongs to a test is told to, or counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::attribution::Attribution;
use super::scopes::{Order, OrderKind};
use super::settled_scope::{Root, SettledScope};
use super::sweeps::ReportedFork;
use crate::identity::Identity;
use crate::slot::Slot;
use crate::units::{ClockTicks, START_STEP_NS};

/// The process that all are below, the root of the test, and one beside it.
const INIT: i32 = 1;
const ROOT: i32 = 10;
const OTHER: i32 = 11;
const ROOT_START_NS: u64 = 5000 * MS;
const MS: u64 = 1_000_000;
/// The control group of the test, where it has one, and that of its processes until they leave it.
const GROUP: &str = "/job/test";

/// What happens next; a number says to which of the living processes.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It forks; the report is lost or not.
    Fork(usize, bool),
    Exec(usize),
    /// It exits, and its exit record comes in so many ticks; `None`: never.
    Exit(usize, Option<u8>),
    /// It forks, and exits at once: the child goes on.
    Chain(usize),
    /// It moves into another control group than that of the test.
    Leave(usize),
    /// It moves into that of the test.
    Join(usize),
    /// A tick. If there is a number, that process ends while the tick looks at it: it has no sample.
    Tick(Option<usize>),
}

struct Simulated {
    parent: i32,
    start_ns: u64,
    is_of_test: bool,
    /// Whether it is in the control group of the test, and was so at the last tick.
    is_in_group: bool,
    was_in_group: bool,
    execs: u32,
    /// Execs as of the last tick, and its place among the samples.
    sampled: Option<(u32, Slot)>,
    is_reported: bool,
}

struct Kernel {
    now_ns: u64,
    next_pid: i32,
    living: BTreeMap<i32, Simulated>,
    attribution: Attribution,
    slots: u32,
    forks: Vec<ReportedFork>,
    ended: Vec<Slot>,
    /// Exit records on their way: ticks until they come, the process, and whether it is of the test.
    records: Vec<(u8, Identity, bool)>,
    unseen: Vec<ReportedFork>,
    /// Reports that were lost since the last tick, and in all.
    lost: u32,
    all_lost: u32,
    unattributed: u32,
    /// Processes of the test that were told to be of none, and others that were told to be of it.
    missing: u32,
    wrong: u32,
    /// Processes that were told to be of it at a tick and were not, or the other way round, after a move.
    misplaced: u32,
    has_group: bool,
    /// Of those that are missing, those that were looked at in the control group of the test.
    missing_in_group: u32,
}

fn identity(pid: i32, ppid: i32, start_ns: u64, exec: u32, process: u64) -> Identity {
    let start = start_ns / START_STEP_NS;
    Identity {
        ppid,
        exec,
        start: ClockTicks(start),
        start_ns: start * START_STEP_NS,
        ..Identity::of(process, pid)
    }
}

impl Simulated {
    fn identity(&self, pid: i32, number: u64) -> Identity {
        let cgroup = if self.is_in_group { GROUP } else { "/beside" };
        let identity = identity(pid, self.parent, self.start_ns, self.execs, number);
        Identity { cgroup: Some(cgroup.as_bytes().to_vec()), ..identity }
    }
}

impl Kernel {
    fn new() -> Self {
        Self::with_group(None)
    }

    /// The test has a control group of its own or not.
    fn with_group(group: Option<&str>) -> Self {
        let mut kernel = Self {
            now_ns: 10_000 * MS,
            next_pid: 100,
            living: BTreeMap::new(),
            attribution: Attribution::new(SettledScope::Machine, Arc::new(AtomicUsize::new(1))),
            slots: 0,
            forks: Vec::new(),
            ended: Vec::new(),
            records: Vec::new(),
            unseen: Vec::new(),
            lost: 0,
            all_lost: 0,
            unattributed: 0,
            missing: 0,
            wrong: 0,
            misplaced: 0,
            has_group: group.is_some(),
            missing_in_group: 0,
        };
        for (pid, parent) in [(INIT, 0), (ROOT, INIT), (OTHER, INIT)] {
            let start_ns = ROOT_START_NS;
            let is_of_test = pid == ROOT;
            let started = Simulated {
                parent,
                start_ns,
                is_of_test,
                // The root is the launcher, which is outside as the launchers of the runner are.
                is_in_group: false,
                was_in_group: false,
                execs: 0,
                sampled: None,
                is_reported: true,
            };
            kernel.living.insert(pid, started);
        }
        kernel.tick(None);
        let start = ClockTicks(ROOT_START_NS / START_STEP_NS);
        let scope = SettledScope::Tree {
            root: Root { pid: ROOT, start, launcher: None },
            group: group.map(|group| group.as_bytes().to_vec()),
        };
        let kind = OrderKind::Assign(scope, "test".into());
        kernel.attribution.order(Order { boot_ns: kernel.now_ns, kind });
        kernel
    }

    fn pick(&self, number: usize) -> i32 {
        // Neither the root nor init ends; all of them fork.
        self.living.keys().copied().nth(number % self.living.len()).unwrap_or(INIT)
    }

    fn step(&mut self, step: Step) {
        self.now_ns += 3 * MS;
        match step {
            Step::Fork(number, is_lost) => drop(self.fork(self.pick(number), is_lost)),
            Step::Exec(number) => {
                let pid = self.pick(number);
                if let Some(process) = self.living.get_mut(&pid) {
                    process.execs += 1;
                }
            }
            Step::Leave(number) => self.set_group(number, false),
            Step::Join(number) => self.set_group(number, true),
            Step::Exit(number, record) => self.exit(self.pick(number), record),
            Step::Chain(number) => {
                let pid = self.pick(number);
                let child = self.fork(pid, false);
                let grandchild = self.fork(child, false);
                self.exit(child, Some(0));
                assert!(self.living.contains_key(&grandchild));
            }
            Step::Tick(number) => self.tick(number.map(|number| self.pick(number))),
        }
    }

    fn set_group(&mut self, number: usize, is_in_group: bool) {
        let pid = self.pick(number);
        if let Some(process) = self.living.get_mut(&pid) {
            process.is_in_group = is_in_group;
        }
    }

    fn fork(&mut self, parent: i32, is_lost: bool) -> i32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        self.now_ns += MS;
        let Simulated { is_of_test, was_in_group, .. } = self.living[&parent];
        // Who had joined when it was last looked at has forked a process of the test.
        let is_of_test = is_of_test || (self.has_group && was_in_group);
        let forked = Simulated {
            parent,
            start_ns: self.now_ns,
            is_of_test,
            is_in_group: self.living[&parent].is_in_group || parent == ROOT,
            was_in_group: false,
            execs: 0,
            sampled: None,
            is_reported: !is_lost,
        };
        self.living.insert(pid, forked);
        if is_lost {
            self.lost += 1;
        } else {
            self.forks.push(ReportedFork { ts_ms: 0, parent, pid, boot_ns: self.now_ns });
        }
        pid
    }

    fn exit(&mut self, pid: i32, record: Option<u8>) {
        if [INIT, ROOT, OTHER].contains(&pid) {
            return;
        }
        let Some(ended) = self.living.remove(&pid) else { return };
        // The root of the test is a subreaper.
        let reaper = if ended.is_of_test { ROOT } else { INIT };
        self.living.values_mut().filter(|child| child.parent == pid).for_each(|child| {
            child.parent = reaper;
        });
        let boot_ns = ended.start_ns;
        if let Some((_, slot)) = ended.sampled {
            self.ended.push(slot);
        } else if let Some(ticks) = record {
            // Exact where the fork was reported.
            let exact = identity(pid, ended.parent, boot_ns, 0, 0);
            let start_ns = if ended.is_reported { boot_ns } else { exact.start_ns };
            self.records.push((ticks, Identity { start_ns, ..exact }, ended.is_of_test));
        } else if ended.is_reported {
            self.unseen.push(ReportedFork { ts_ms: 0, parent: ended.parent, pid, boot_ns });
        }
    }

    fn tick(&mut self, vanishes: Option<i32>) {
        self.now_ns += 5 * MS;
        let attribution = &mut self.attribution;
        attribution.apply_orders(self.now_ns);
        if self.lost > 0 {
            attribution.note_lost_reports();
        }
        self.all_lost += std::mem::take(&mut self.lost);
        self.forks.drain(..).for_each(|fork| attribution.note_fork(fork));
        self.ended.drain(..).for_each(|slot| attribution.end(slot));
        let mut begun = Vec::new();
        for (&pid, process) in &mut self.living {
            let execs = process.sampled.map(|(execs, _)| execs);
            if vanishes == Some(pid) && execs.is_none() {
                continue;
            }
            let was_in_group = std::mem::replace(&mut process.was_in_group, process.is_in_group);
            if execs == Some(process.execs) {
                if let Some((_, slot)) =
                    process.sampled.filter(|_| was_in_group != process.is_in_group)
                {
                    attribution.describe(slot, &Arc::new(process.identity(pid, u64::from(slot.0))));
                }
                continue;
            }
            if let Some((_, slot)) = process.sampled {
                attribution.end(slot);
            }
            self.slots += 1;
            let slot = Slot(self.slots);
            let Simulated { execs, is_of_test, is_in_group, .. } = *process;
            attribution.begin(slot, &Arc::new(process.identity(pid, u64::from(self.slots))));
            process.sampled = Some((execs, slot));
            begun.push((slot, is_of_test || (self.has_group && is_in_group), is_in_group));
        }
        let mut records = Vec::new();
        self.records.retain_mut(|(ticks, identity, is_of_test)| {
            let comes = *ticks == 0;
            if comes {
                records.push((Arc::new(identity.clone()), *is_of_test));
            }
            *ticks = ticks.saturating_sub(1);
            !comes
        });
        records.iter().for_each(|(identity, _)| attribution.note_unsampled(identity, &[]));
        attribution.settle();
        self.unseen.drain(..).for_each(|fork| attribution.note_unseen(fork));
        let mut tell = |is_told: bool, is_of_test: bool| {
            self.missing += u32::from(is_of_test && !is_told);
            self.wrong += u32::from(is_told && !is_of_test);
        };
        for (slot, is_of_test, is_in_group) in begun {
            // Before there is an order, nobody is of the test.
            if self.now_ns > 10_010 * MS {
                let is_told = attribution.test(slot).is_some();
                self.missing_in_group += u32::from(is_in_group && !is_told);
                tell(is_told, is_of_test);
            }
        }
        for (identity, is_of_test) in records {
            let told = attribution.of_unsampled(&identity, &[], self.now_ns).1;
            tell(told.is_some(), is_of_test);
        }
        if self.now_ns > 10_010 * MS {
            let sampled = self.living.values().filter_map(|it| Some((it, it.sampled?.1)));
            let is_misplaced = |&(it, slot): &(&Simulated, Slot)| {
                let is_of_test = it.is_of_test || (self.has_group && it.is_in_group);
                attribution.test(slot).is_some() != is_of_test
            };
            self.misplaced += sampled.filter(is_misplaced).count() as u32;
        }
        attribution.end_sweep();
        self.unattributed += attribution.take_unattributed();
        if let Some(pid) =
            vanishes.filter(|pid| self.living.get(pid).is_some_and(|it| it.sampled.is_none()))
        {
            self.exit(pid, Some(0));
        }
    }
}

fn steps(with_losses: bool) -> impl Strategy<Value = Vec<Step>> {
    let number = 0_usize..64;
    let is_lost = prop_oneof![9 => Just(false), 1 => Just(with_losses)];
    let never = if with_losses { None } else { Some(0) };
    let record = prop_oneof![4 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(never)];
    let step = prop_oneof![
        4 => (number.clone(), is_lost).prop_map(|(number, is_lost)| Step::Fork(number, is_lost)),
        1 => number.clone().prop_map(Step::Exec),
        3 => (number.clone(), record).prop_map(|(number, record)| Step::Exit(number, record)),
        3 => number.clone().prop_map(Step::Chain),
        1 => number.clone().prop_map(Step::Leave),
        // After a loss it is not known whether a fork came before the move.
        1 => number.clone().prop_map(if with_losses { Step::Leave } else { Step::Join }),
        2 => prop::option::of(number).prop_map(Step::Tick),
    ];
    prop::collection::vec(step, 1..120)
}

fn run(steps: Vec<Step>, group: Option<&str>) -> Kernel {
    let mut kernel = Kernel::with_group(group);
    steps.into_iter().for_each(|step| kernel.step(step));
    (0..3).for_each(|_| kernel.tick(None));
    kernel
}

proptest! {
    #[test]
    fn without_a_loss_all_is_told_and_nothing_is_unattributed(
        steps in steps(false),
        has_group: bool,
    ) {
        let kernel = run(steps, has_group.then_some(GROUP));
        prop_assert_eq!((kernel.missing, kernel.wrong, kernel.unattributed), (0, 0, 0));
        prop_assert_eq!(kernel.misplaced, 0);
    }

    #[test]
    fn what_is_not_told_is_counted_and_nobody_else_is_told(
        steps in steps(true),
        has_group: bool,
    ) {
        let kernel = run(steps, has_group.then_some(GROUP));
        prop_assert_eq!(kernel.wrong, 0);
        prop_assert!(kernel.missing == 0 || kernel.unattributed + kernel.all_lost > 0);
    }

    #[test]
    fn who_is_in_the_group_of_the_test_is_told_whatever_is_lost(steps in steps(true)) {
        let kernel = run(steps, Some(GROUP));
        prop_assert_eq!((kernel.missing_in_group, kernel.wrong), (0, 0));
    }
}

#[test]
fn a_chain_of_any_length_keeps_its_test_across_ticks() {
    let mut kernel = Kernel::new();
    let mut pid = ROOT;
    for generation in 0..20_000 {
        let child = kernel.fork(pid, false);
        if pid != ROOT {
            // The records come late, as from a busy machine.
            kernel.exit(pid, Some(2));
        }
        pid = child;
        if generation % 500 == 0 {
            kernel.tick(Some(pid).filter(|_| generation % 1000 == 0));
            if !kernel.living.contains_key(&pid) {
                pid = kernel.fork(ROOT, false);
            }
        }
    }
    (0..3).for_each(|_| kernel.tick(None));
    assert_eq!((kernel.missing, kernel.wrong, kernel.unattributed), (0, 0, 0));
}

#[test]
fn what_is_only_forked_and_lost_is_counted_at_the_test_that_it_may_be_of() {
    let unattributed = |of: i32| {
        let mut kernel = Kernel::new();
        kernel.tick(None);
        let child = kernel.fork(of, false);
        kernel.exit(child, None);
        kernel.tick(None);
        kernel.unattributed
    };
    assert_eq!([unattributed(ROOT), unattributed(OTHER)], [1, 0]);
}

#[test]
fn who_forked_it_is_lost_and_its_group_tells() {
    let missing_in = |group: Option<&str>| {
        let mut kernel = Kernel::with_group(group);
        let child = kernel.fork(ROOT, true);
        kernel.fork(child, false);
        kernel.exit(child, None);
        kernel.tick(None);
        assert_eq!(kernel.unattributed, kernel.missing);
        kernel.missing
    };
    assert_eq!([missing_in(None), missing_in(Some(GROUP)), missing_in(Some("/job"))], [1, 0, 0]);
}
