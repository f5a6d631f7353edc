//! A simulated kernel whose processes have memory, and a recording of them: what a sampler would have read and been told,
//! through the projection into files. Forks, execs, growth and exits come in any order, between ticks and across them, and
//! reports of them are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use tempfile::TempDir;

use super::attribution::Attribution;
use super::options::RecorderOptions;
use super::projection::Projection;
use super::schedule::Due;
use super::scopes::{Order, OrderKind};
use super::settled_scope::{Root, SettledScope};
use super::sweeps::{Asked, EndedIdentity, ReportedFork, SessionNumber, SessionTick, Sweeps};
use crate::batch::{Batch, BatchTick, Change, Row};
use crate::clock::Now;
use crate::events::ExactExit;
use crate::host::Host;
use crate::identity::Identity;
use crate::metric::{Files, Metric, Metrics};
use crate::recording::{
    ClockAnchor, End, ForksBy, Machine, Manifest, Provenance, Recording, RecordingDirectory,
    RecordingState, RecordingWriter, Settings, new_recording_id,
};
use crate::schema::exits::Exit;
use crate::schema::ticks::Tick;
use crate::schema::{FORMAT_VERSION, Totals};
use crate::slot::Slot;
use crate::units::{ClockTicks, START_STEP_NS};

const MS: u64 = 1_000_000;
const MIB: u64 = 1 << 20;
/// The process that all are below, and the root of the test.
const INIT: i32 = 1;
const ROOT: i32 = 10;
const START_NS: u64 = 10_000 * MS;
const FILES: Files = Files::STATM.union(Files::DETAIL);

/// What happens next; the first number says to which of the living processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It forks; the report is lost or not.
    Fork(usize, bool),
    /// It begins another program, of so many MiB.
    Exec(usize, u64),
    /// It has so many MiB from now on.
    Resize(usize, u64),
    /// It exits, and its exit record comes in so many ticks; `None`: never.
    Exit(usize, Option<u8>),
    /// It forks and exits at once: the child goes on.
    Chain(usize),
    Tick,
}

struct Process {
    parent: i32,
    /// Who forked it, where that was reported.
    reported_parent: Option<i32>,
    start_ns: u64,
    is_of_test: bool,
    execs: u32,
    rss: u64,
    /// The largest since the image began.
    hwm: u64,
    /// The same as of when it gave memory back for the last time.
    past_hwm: u64,
    /// The largest of all its images before, and of what it was forked from.
    replaced: u64,
    /// The image as of the last tick.
    sampled: Option<(Slot, Arc<Identity>)>,
}

/// The memory of a process image, from an instant on; they are in the order of time.
struct MemoryChange {
    process: (i32, u32),
    rss: u64,
}

/// An exit record on its way.
struct Record {
    ticks: u8,
    exit: Exit,
    identity: Arc<Identity>,
}

pub(crate) struct Kernel {
    directory: TempDir,
    writer: RecordingWriter,
    projection: Projection,
    now_ns: u64,
    next_pid: i32,
    next_process: u64,
    next_slot: u32,
    living: BTreeMap<i32, Process>,
    /// Of the processes of the test.
    changes: Vec<MemoryChange>,
    sweeps: Sweeps,
    ended: Vec<Slot>,
    records: Vec<Record>,
    lost: u32,
    ticks: u64,
}

/// A recording, and between which bounds the largest sum of the test really was.
pub(crate) struct Simulation {
    pub(crate) recording: Recording,
    pub(crate) least_bytes: u64,
    pub(crate) most_bytes: u64,
    _directory: TempDir,
}

impl Kernel {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let clock = ClockAnchor { boot_ns: START_NS, utc_ns: 1_700_000_000_000_000_000 };
        let started = jiff::Timestamp::from_nanosecond(clock.utc_ns.into()).unwrap();
        let options = RecorderOptions::default();
        let machine = Machine {
            kernel: "6.18.0".to_owned(),
            cpus_online: Some(1),
            ..Machine::current(Host::current())
        };
        let settings = Settings { forks: ForksBy::ProcConnector, ..options.settings() };
        let manifest = Manifest {
            provenance: Provenance {
                format: FORMAT_VERSION,
                id: new_recording_id(started),
                name: "x".to_owned(),
                memsample: String::new(),
                started,
                clock,
                settings,
                labels: BTreeMap::new(),
                machine,
                cut: None,
                anonymized: false,
            },
            state: RecordingState::Recording,
            end: None,
            last_tick: None,
            totals: Totals::default(),
            files: BTreeMap::new(),
            recorder: None,
            command_exit_code: None,
            notes: Vec::new(),
        };
        let place = RecordingDirectory::create(&path).unwrap();
        let lock = place.lock().unwrap().unwrap();
        let writer = RecordingWriter::create(place, lock, manifest).unwrap();
        let attribution = Attribution::new(SettledScope::Machine, Arc::new(AtomicUsize::new(1)));
        let now = Now { boot_ns: START_NS, monotonic_ns: START_NS, utc_ns: clock.utc_ns };
        let projection = Projection::new(SessionNumber(0), &options, &now, &now, attribution);
        let mut kernel = Self {
            directory,
            writer,
            projection,
            now_ns: START_NS,
            next_pid: 100,
            next_process: 0,
            next_slot: 0,
            living: BTreeMap::new(),
            changes: Vec::new(),
            sweeps: Sweeps::default(),
            ended: Vec::new(),
            records: Vec::new(),
            lost: 0,
            ticks: 0,
        };
        for (pid, parent) in [(INIT, 0), (ROOT, INIT)] {
            let process = Process {
                parent,
                reported_parent: None,
                start_ns: 5000 * MS,
                is_of_test: pid == ROOT,
                execs: 0,
                rss: 5,
                hwm: 5,
                past_hwm: 0,
                replaced: 0,
                sampled: None,
            };
            kernel.living.insert(pid, process);
            kernel.note(pid);
        }
        kernel.tick();
        let start = ClockTicks(5000 * MS / START_STEP_NS);
        let root = Root { pid: ROOT, start, launcher: None };
        let kind = OrderKind::Assign(SettledScope::Tree { root, group: None }, "test".into());
        kernel.projection.attribution.order(Order { boot_ns: kernel.now_ns, kind });
        kernel
    }

    fn pick(&self, number: usize) -> i32 {
        self.living.keys().copied().nth(number % self.living.len()).unwrap()
    }

    /// Notes what a process of the test has now.
    fn note(&mut self, pid: i32) {
        let process = &self.living[&pid];
        if process.is_of_test {
            self.changes.push(MemoryChange { process: (pid, process.execs), rss: process.rss });
        }
    }

    fn step(&mut self, step: Step) {
        self.now_ns += 3 * MS;
        match step {
            Step::Fork(number, is_lost) => drop(self.fork(self.pick(number), is_lost)),
            Step::Exec(number, mib) => {
                let pid = self.pick(number);
                // Neither that below which all are nor the root of the test.
                if pid >= 100 {
                    self.forget(pid);
                    let process = self.living.get_mut(&pid).unwrap();
                    process.execs += 1;
                    process.replaced = process.replaced.max(process.hwm);
                    (process.rss, process.hwm, process.past_hwm) = (mib, mib, 0);
                    self.note(pid);
                }
            }
            Step::Resize(number, mib) => {
                let pid = self.pick(number);
                let process = self.living.get_mut(&pid).unwrap();
                if mib < process.rss {
                    process.past_hwm = process.hwm;
                }
                (process.rss, process.hwm) = (mib, process.hwm.max(mib));
                self.note(pid);
            }
            Step::Exit(number, record) => self.exit(self.pick(number), record),
            Step::Chain(number) => {
                let child = self.fork(self.pick(number), false);
                self.fork(child, false);
                self.exit(child, Some(0));
            }
            Step::Tick => self.tick(),
        }
    }

    /// Notes that the present image of a process is gone.
    fn forget(&mut self, pid: i32) {
        let process = &self.living[&pid];
        if process.is_of_test {
            self.changes.push(MemoryChange { process: (pid, process.execs), rss: 0 });
        }
    }

    fn fork(&mut self, parent: i32, is_lost: bool) -> i32 {
        self.now_ns += MS;
        let pid = self.next_pid;
        self.next_pid += 1;
        let Process { is_of_test, rss, .. } = self.living[&parent];
        let process = Process {
            parent,
            reported_parent: Some(parent).filter(|_| !is_lost),
            start_ns: self.now_ns,
            is_of_test,
            execs: 0,
            rss,
            hwm: rss,
            past_hwm: rss,
            replaced: rss,
            sampled: None,
        };
        self.living.insert(pid, process);
        self.note(pid);
        match is_lost {
            true => self.lost += 1,
            false => {
                self.sweeps.forks.push(ReportedFork {
                    ts_ms: 0,
                    parent,
                    pid,
                    boot_ns: self.now_ns,
                });
            }
        }
        pid
    }

    /// Returns the identity of the present image of a process, as the sampler makes it.
    fn identity(&mut self, pid: i32) -> Arc<Identity> {
        self.next_process += 1;
        let process = &self.living[&pid];
        let start = process.start_ns / START_STEP_NS;
        Arc::new(Identity {
            ppid: process.reported_parent.unwrap_or(process.parent),
            exec: process.execs,
            start: ClockTicks(start),
            start_ns: start * START_STEP_NS,
            ..Identity::of(self.next_process, pid)
        })
    }

    fn exit(&mut self, pid: i32, record: Option<u8>) {
        if pid < 100 {
            return;
        }
        self.forget(pid);
        let own = self.identity(pid);
        let ended = self.living.remove(&pid).unwrap();
        let reaper = if ended.is_of_test { ROOT } else { INIT };
        self.living.values_mut().filter(|child| child.parent == pid).for_each(|child| {
            child.parent = reaper;
        });
        if let Some((slot, _)) = &ended.sampled {
            self.ended.push(*slot);
        }
        let Some(ticks) = record else {
            if let (None, Some(parent)) = (&ended.sampled, ended.reported_parent) {
                let boot_ns = ended.start_ns;
                self.sweeps.unseen.push(ReportedFork { ts_ms: 0, parent, pid, boot_ns });
            }
            return;
        };
        let (identity, is_known) = match &ended.sampled {
            Some((_, seen)) if seen.exec == own.exec => (Arc::clone(seen), true),
            Some(_) => (own, false),
            // Exact where the fork was reported, else as late as the record comes.
            None if ended.reported_parent.is_some() => {
                (Arc::new(Identity { start_ns: ended.start_ns, ..Identity::clone(&own) }), false)
            }
            None => (Arc::new(Identity { exec: 0, ..Identity::clone(&own) }), false),
        };
        let exit = Exit {
            ts_ms: 0,
            process: identity.process,
            unsampled: (!is_known).then(|| Arc::clone(&identity)),
            parent: None,
            test: None,
            pid,
            ppid: ended.parent,
            uid: 0,
            comm: identity.comm,
            start_ns: identity.start_ns,
            lived_ns: self.now_ns - ended.start_ns,
            status: 0,
            hwm_bytes: ended.hwm * MIB,
            // BPF says it of every other one.
            exact: (pid % 2 == 1).then(|| ExactExit {
                rss_bytes: ended.rss * MIB,
                past_hwm_bytes: ended.past_hwm * MIB,
                process_max_rss_bytes: ended.replaced.max(ended.hwm) * MIB,
            }),
            minflt: 1,
            majflt: 0,
            utime_ns: 0,
            stime_ns: 0,
            killed_in: None,
        };
        self.records.push(Record { ticks, exit, identity });
    }

    fn tick(&mut self) {
        self.now_ns += 5 * MS;
        let planned_ns = START_NS + self.ticks * 100 * MS;
        self.now_ns = self.now_ns.max(planned_ns);
        self.ticks = (self.now_ns - START_NS) / (100 * MS) + 1;
        let mut sweeps = std::mem::take(&mut self.sweeps);
        let ts_ms = i64::try_from((1_700_000_000_000 * MS + self.now_ns - START_NS) / MS).unwrap();
        sweeps.forks.iter_mut().chain(&mut sweeps.unseen).for_each(|fork| fork.ts_ms = ts_ms);
        let changes = &mut sweeps.batch.changes;
        changes.extend(self.ended.drain(..).map(Change::End));
        let pids: Vec<i32> = self.living.keys().copied().collect();
        let mut born = Vec::new();
        for &pid in &pids {
            let process = &self.living[&pid];
            let seen = process.sampled.as_ref().map(|(slot, seen)| (*slot, seen.exec));
            if seen.is_some_and(|(_, exec)| exec == process.execs) {
                continue;
            }
            changes.extend(seen.map(|(slot, _)| Change::End(slot)));
            let identity = self.identity(pid);
            let slot = Slot(self.next_slot);
            self.next_slot += 1;
            born.push(Change::Begin(slot, Arc::clone(&identity), None));
            self.living.get_mut(&pid).unwrap().sampled = Some((slot, identity));
        }
        changes.extend(born);
        changes.extend(self.living.values().map(|process| {
            let mut metrics = Metrics::default();
            metrics.set(Metric::Rss, process.rss * MIB);
            metrics.set(Metric::Hwm, process.hwm * MIB);
            Change::Row(process.sampled.as_ref().unwrap().0, Row { files: FILES, metrics })
        }));
        let mut records = Vec::new();
        self.records.retain_mut(|record| {
            let comes = record.ticks == 0;
            if comes {
                records.push((record.exit.clone(), Arc::clone(&record.identity)));
            }
            record.ticks = record.ticks.saturating_sub(1);
            !comes
        });
        for (exit, identity) in records {
            sweeps.batch.exits.push(Exit { ts_ms, ..exit });
            sweeps.ended.push(EndedIdentity { identity, ancestors: Vec::new() });
        }
        let mut tick = Tick {
            ts_ms,
            planned_ns: self.now_ns,
            began_ns: self.now_ns,
            duration_us: 1,
            ..Tick::default()
        };
        tick.counts.processes = u32::try_from(pids.len()).unwrap();
        tick.counts.events_lost = std::mem::take(&mut self.lost);
        let changes = u32::try_from(sweeps.batch.changes.len()).unwrap();
        sweeps.batch.ticks.push(BatchTick { tick, common_files: Some(FILES), changes });
        let due = Due { index: 0, planned_ns: self.now_ns, late: 0, missed: 0 };
        let asked = Asked { detail: true, alone: true, ..Asked::default() };
        sweeps.due.push(SessionTick { session: SessionNumber(0), tick: 0, due, asked });
        let mut out = Batch::default();
        self.projection.project(&sweeps, &mut out);
        self.writer.append(&out).unwrap();
        self.now_ns += 2 * MS;
    }

    /// Returns the recording, and what the test really had.
    fn finish(mut self) -> Simulation {
        (0..5).for_each(|_| self.tick());
        // What has forked and runs another program later is, until then, its parent once more.
        let executed: Vec<i32> = self
            .changes
            .iter()
            .filter(|change| change.process.1 > 0)
            .map(|change| change.process.0)
            .collect();
        let is_copy = |(pid, exec): (i32, u32)| exec == 0 && executed.contains(&pid);
        let largest = |counts: &dyn Fn((i32, u32)) -> bool| {
            let mut now: BTreeMap<(i32, u32), u64> = BTreeMap::new();
            let sums = self.changes.iter().filter(|change| counts(change.process)).map(|change| {
                now.insert(change.process, change.rss);
                now.values().sum::<u64>()
            });
            sums.max().unwrap_or(0) * MIB
        };
        let (least_bytes, most_bytes) = (largest(&|process| !is_copy(process)), largest(&|_| true));
        let path = self.directory.path().join("x");
        self.writer.close_assembled(End::Stopped, RecordingState::Closed).unwrap();
        let (recording, _) = Recording::open(&path).unwrap();
        Simulation { recording, least_bytes, most_bytes, _directory: self.directory }
    }
}

/// Lets all this happen, and records it.
pub(crate) fn simulate(steps: &[Step]) -> Simulation {
    let mut kernel = Kernel::new();
    steps.iter().for_each(|&step| kernel.step(step));
    kernel.finish()
}

/// Generates what happens, with losses or without.
pub(crate) fn steps(with_losses: bool) -> impl Strategy<Value = Vec<Step>> {
    let number = 0_usize..64;
    let mib = prop_oneof![3 => 1_u64..40, 1 => 100_u64..300];
    let is_lost = prop_oneof![9 => Just(false), 1 => Just(with_losses)];
    let never = if with_losses { None } else { Some(0) };
    let record = prop_oneof![4 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(never)];
    let step = prop_oneof![
        4 => (number.clone(), is_lost).prop_map(|(number, is_lost)| Step::Fork(number, is_lost)),
        2 => (number.clone(), mib.clone()).prop_map(|(number, mib)| Step::Exec(number, mib)),
        4 => (number.clone(), mib).prop_map(|(number, mib)| Step::Resize(number, mib)),
        3 => (number.clone(), record).prop_map(|(number, record)| Step::Exit(number, record)),
        2 => number.prop_map(Step::Chain),
        3 => Just(Step::Tick),
    ];
    prop::collection::vec(step, 1..60)
}
