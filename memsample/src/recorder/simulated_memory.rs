//! A simulated kernel whose processes have memory, and a recording of them: what a sampler would have read and been told,
//! through the projection into files. Forks, execs, growth and exits come in any order, between ticks and across them, and
//! reports of them are lost.

use std::collections::{BTreeMap, BTreeSet};
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
/// All memory is anonymous, and a fault brings a page of it.
const FAULTS_PER_MIB: u64 = 256;
const SIGKILL: u32 = 9;
const FILES: Files = Files::STATM.union(Files::DETAIL);

/// What happens next; the first number says to which of the living processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It forks, and the child has a copy of its memory; the report is lost or not.
    Fork(usize, bool),
    /// It forks, and the child has the same memory; the report is lost or not.
    Spawn(usize, bool),
    /// It begins another program, of so many MiB.
    Exec(usize, u64),
    /// It has so many MiB from now on. What it gives back, it shared with a child or its parent, as long as it has such.
    Resize(usize, u64),
    /// It writes to all that it has, so that it shares none of it any more.
    Write(usize),
    /// It exits, and its exit record comes in so many ticks; `None`: never.
    Exit(usize, Option<u8>),
    /// A signal ends it, and its memory is taken away before the kernel looks how much that was (`process_mrelease`).
    Reap(usize),
    /// It forks and exits at once: the child goes on.
    Chain(usize),
    Tick,
    /// A tick, and while it is read a process comes to have so many MiB.
    TickWhile(usize, u64),
}

/// A memory map. Sizes are in MiB.
#[derive(Clone, Copy)]
struct Map {
    rss: u64,
    /// The largest since it was made.
    hwm: u64,
    /// The same as of when it gave memory back for the last time.
    past_hwm: u64,
    /// The map of which it is a copy, and how much of it it still shares with that.
    copy_of: Option<u32>,
    shared: u64,
}

/// What a process of the test has at one instant.
struct Having {
    pid: i32,
    execs: u32,
    map: u32,
    rss: u64,
    own: u64,
}

struct Process {
    parent: i32,
    /// Who forked it, where that was reported.
    reported_parent: Option<i32>,
    /// The execs of that one until then.
    forker_execs: u32,
    start_ns: u64,
    is_of_test: bool,
    execs: u32,
    map: u32,
    /// Its page faults.
    faults: u64,
    /// The largest of all its images before, and of what it was forked from.
    replaced: u64,
    /// The image as of the last tick.
    sampled: Option<(Slot, Arc<Identity>)>,
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
    maps: BTreeMap<u32, Map>,
    next_map: u32,
    /// What the processes of the test had, at each change.
    had: Vec<Vec<Having>>,
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
            maps: BTreeMap::new(),
            next_map: 0,
            had: Vec::new(),
            sweeps: Sweeps::default(),
            ended: Vec::new(),
            records: Vec::new(),
            lost: 0,
            ticks: 0,
        };
        for (pid, parent) in [(INIT, 0), (ROOT, INIT)] {
            let map = kernel.map(Map { rss: 5, hwm: 5, past_hwm: 0, copy_of: None, shared: 0 });
            let process = Process {
                parent,
                reported_parent: None,
                forker_execs: 0,
                start_ns: 5000 * MS,
                is_of_test: pid == ROOT,
                execs: 0,
                map,
                faults: 0,
                replaced: 0,
                sampled: None,
            };
            kernel.living.insert(pid, process);
            kernel.note();
        }
        kernel.tick(None);
        let start = ClockTicks(5000 * MS / START_STEP_NS);
        let root = Root { pid: ROOT, start, launcher: None };
        let kind = OrderKind::Assign(SettledScope::Tree { root, group: None }, "test".into());
        kernel.projection.attribution.order(Order { boot_ns: kernel.now_ns, kind });
        kernel
    }

    fn pick(&self, number: usize) -> i32 {
        self.living.keys().copied().nth(number % self.living.len()).unwrap()
    }

    fn map(&mut self, map: Map) -> u32 {
        self.next_map += 1;
        self.maps.insert(self.next_map, map);
        self.next_map
    }

    fn map_of(&self, pid: i32) -> Map {
        self.maps[&self.living[&pid].map]
    }

    /// Notes what the processes of the test have now.
    fn note(&mut self) {
        let of_test = self.living.iter().filter(|(_, process)| process.is_of_test);
        let having = of_test.map(|(&pid, process)| {
            let Map { rss, shared, copy_of, .. } = self.maps[&process.map];
            // Who is left alone has all of it.
            let is_shared = copy_of.is_some_and(|of| self.maps.contains_key(&of));
            let own = if is_shared { rss - shared } else { rss };
            Having { pid, execs: process.execs, map: process.map, rss, own }
        });
        self.had.push(having.collect());
    }

    /// Ends the maps that no process has.
    fn drop_maps(&mut self) {
        let living = &self.living;
        self.maps.retain(|map, _| living.values().any(|process| process.map == *map));
    }

    fn resize(&mut self, pid: i32, mib: u64) {
        let number = self.living[&pid].map;
        let map = self.maps.get_mut(&number).unwrap();
        let back = map.rss.saturating_sub(mib);
        if back > 0 {
            map.past_hwm = map.hwm;
        }
        map.shared = map.shared.saturating_sub(back);
        let brought = mib.saturating_sub(map.rss);
        (map.rss, map.hwm) = (mib, map.hwm.max(mib));
        for copy in self.maps.values_mut().filter(|copy| copy.copy_of == Some(number)) {
            copy.shared = copy.shared.saturating_sub(back);
        }
        self.living.get_mut(&pid).unwrap().faults += brought * FAULTS_PER_MIB;
        self.note();
    }

    fn write(&mut self, pid: i32) {
        let number = self.living[&pid].map;
        let map = self.maps.get_mut(&number).unwrap();
        let mut written = std::mem::take(&mut map.shared);
        for copy in self.maps.values_mut().filter(|copy| copy.copy_of == Some(number)) {
            written = written.max(std::mem::take(&mut copy.shared));
        }
        self.living.get_mut(&pid).unwrap().faults += written * FAULTS_PER_MIB;
        self.note();
    }

    fn step(&mut self, step: Step) {
        self.now_ns += 3 * MS;
        match step {
            Step::Fork(number, is_lost) => drop(self.fork(self.pick(number), is_lost)),
            Step::Spawn(number, is_lost) => {
                let parent = self.pick(number);
                let map = self.living[&parent].map;
                self.begin(parent, is_lost, map, 0);
            }
            Step::Write(number) => self.write(self.pick(number)),
            Step::Reap(number) => {
                let pid = self.pick(number);
                let map = self.living[&pid].map;
                let users = self.living.values().filter(|process| process.map == map).count();
                // The kernel takes it from nobody who lives on.
                if users == 1 && pid >= 100 {
                    let map = self.maps.get_mut(&map).unwrap();
                    (map.rss, map.hwm) = (0, map.past_hwm);
                    self.exit(pid, Some(0), SIGKILL);
                }
            }
            Step::Exec(number, mib) => {
                let pid = self.pick(number);
                // Neither that below which all are nor the root of the test.
                if pid >= 100 {
                    let hwm = self.map_of(pid).hwm;
                    let new = Map { rss: mib, hwm: mib, past_hwm: 0, copy_of: None, shared: 0 };
                    let map = self.map(new);
                    let process = self.living.get_mut(&pid).unwrap();
                    process.execs += 1;
                    process.replaced = process.replaced.max(hwm);
                    process.faults += mib * FAULTS_PER_MIB;
                    process.map = map;
                    self.drop_maps();
                    self.note();
                }
            }
            Step::Resize(number, mib) => self.resize(self.pick(number), mib),
            Step::Exit(number, record) => self.exit(self.pick(number), record, 0),
            Step::Chain(number) => {
                let child = self.fork(self.pick(number), false);
                self.fork(child, false);
                self.exit(child, Some(0), 0);
            }
            Step::Tick => self.tick(None),
            Step::TickWhile(number, mib) => self.tick(Some((self.pick(number), mib))),
        }
    }

    fn fork(&mut self, parent: i32, is_lost: bool) -> i32 {
        let of = self.living[&parent].map;
        let rss = self.maps[&of].rss;
        let copy = Map { rss, hwm: rss, past_hwm: rss, copy_of: Some(of), shared: rss };
        let map = self.map(copy);
        self.begin(parent, is_lost, map, rss)
    }

    fn begin(&mut self, parent: i32, is_lost: bool, map: u32, replaced: u64) -> i32 {
        self.now_ns += MS;
        let pid = self.next_pid;
        self.next_pid += 1;
        let Process { is_of_test, execs: forker_execs, .. } = self.living[&parent];
        let process = Process {
            parent,
            reported_parent: Some(parent).filter(|_| !is_lost),
            forker_execs,
            start_ns: self.now_ns,
            is_of_test,
            execs: 0,
            map,
            faults: 0,
            replaced,
            sampled: None,
        };
        self.living.insert(pid, process);
        self.note();
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

    /// Returns the identity of an image that a sweep was the first to come to, with its memory map.
    fn with_map(&self, pid: i32) -> Arc<Identity> {
        let Process { map, reported_parent, forker_execs, sampled, .. } = &self.living[&pid];
        let (_, identity) = sampled.as_ref().unwrap();
        let of = |other: &Process| {
            let (_, image) = other.sampled.as_ref()?;
            Some(image.memory_map.unwrap_or(image.process))
        };
        let before = self.living.iter().filter(|(other, _)| **other != pid).map(|(_, it)| it);
        let parent = self.living.get(&identity.ppid).and_then(|parent| Some((parent, of(parent)?)));
        let memory_map = match parent {
            _ if identity.exec > 0 => identity.process,
            Some((parent, image)) if parent.map == *map => image,
            Some((parent, _)) if reported_parent.is_some() && parent.execs == *forker_execs => {
                identity.process
            }
            // Any other one that was looked at before.
            _ => {
                let is_before = |other: &&Process| {
                    let sampled = other.sampled.as_ref();
                    other.map == *map
                        && sampled.is_some_and(|(_, it)| it.process < identity.process)
                };
                before.rev().find(is_before).and_then(of).unwrap_or(identity.process)
            }
        };
        Arc::new(Identity { memory_map: Some(memory_map), ..Identity::clone(identity) })
    }

    fn exit(&mut self, pid: i32, record: Option<u8>, status: u32) {
        if pid < 100 {
            return;
        }
        let own = self.identity(pid);
        let map = self.map_of(pid);
        let ended = self.living.remove(&pid).unwrap();
        self.drop_maps();
        self.note();
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
            status,
            hwm_bytes: map.hwm * MIB,
            // BPF says it of every other one.
            exact: (pid % 2 == 1).then(|| ExactExit {
                rss_bytes: map.rss * MIB,
                past_hwm_bytes: map.past_hwm * MIB,
                process_max_rss_bytes: ended.replaced.max(map.hwm) * MIB,
            }),
            minflt: ended.faults,
            majflt: 0,
            utime_ns: 0,
            stime_ns: 0,
            killed_in: None,
        };
        self.records.push(Record { ticks, exit, identity });
    }

    fn tick(&mut self, meanwhile: Option<(i32, u64)>) {
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
            self.living.get_mut(&pid).unwrap().sampled = Some((slot, identity));
            born.push(pid);
        }
        // When all images are known that a process has begun before.
        for pid in born {
            let identity = self.with_map(pid);
            let sampled = self.living.get_mut(&pid).unwrap().sampled.as_mut().unwrap();
            sampled.1 = Arc::clone(&identity);
            changes.push(Change::Begin(sampled.0, identity, None));
        }
        let mut rows = Vec::new();
        for (index, &pid) in pids.iter().enumerate() {
            if let Some((pid, mib)) = meanwhile.filter(|_| index == pids.len() / 2) {
                self.resize(pid, mib);
            }
            let process = &self.living[&pid];
            let map = self.maps[&process.map];
            let mut metrics = Metrics::default();
            metrics.set(Metric::Rss, map.rss * MIB);
            metrics.set(Metric::Anon, map.rss * MIB);
            metrics.set(Metric::Hwm, map.hwm * MIB);
            metrics.set(Metric::Minflt, process.faults);
            metrics.set(Metric::Majflt, 0);
            rows.push(Change::Row(
                process.sampled.as_ref().unwrap().0,
                Row { files: FILES, metrics },
            ));
        }
        sweeps.batch.changes.extend(rows);
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
        (0..5).for_each(|_| self.tick(None));
        let all = self.had.iter().flatten();
        let executed: BTreeSet<i32> =
            all.filter(|having| having.execs > 0).map(|having| having.pid).collect();
        let least = |had: &Vec<Having>| {
            let mut of_maps: BTreeMap<u32, u64> = BTreeMap::new();
            for having in had {
                // What runs another program later has, until then, what it does not share.
                let is_copy = having.execs == 0 && executed.contains(&having.pid);
                let mib = if is_copy { having.own } else { having.rss };
                let of_map = of_maps.entry(having.map).or_default();
                *of_map = mib.max(*of_map);
            }
            of_maps.values().sum::<u64>()
        };
        let most = |had: &Vec<Having>| {
            let of_maps: BTreeMap<u32, u64> =
                had.iter().map(|having| (having.map, having.rss)).collect();
            of_maps.values().sum::<u64>()
        };
        let largest =
            |of: &dyn Fn(&Vec<Having>) -> u64| self.had.iter().map(of).max().unwrap_or(0) * MIB;
        let (least_bytes, most_bytes) = (largest(&least), largest(&most));
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
    let grown = mib.clone();
    let is_lost = prop_oneof![9 => Just(false), 1 => Just(with_losses)];
    let never = if with_losses { None } else { Some(0) };
    let record = prop_oneof![4 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(never)];
    let step = prop_oneof![
        4 => (number.clone(), is_lost.clone()).prop_map(|(number, is_lost)| Step::Fork(number, is_lost)),
        2 => (number.clone(), is_lost)
            .prop_map(|(number, is_lost)| Step::Spawn(number, is_lost)),
        2 => (number.clone(), mib.clone()).prop_map(|(number, mib)| Step::Exec(number, mib)),
        4 => (number.clone(), mib.clone()).prop_map(|(number, mib)| Step::Resize(number, mib)),
        3 => (number.clone(), record).prop_map(|(number, record)| Step::Exit(number, record)),
        2 => number.clone().prop_map(Step::Chain),
        2 => number.clone().prop_map(Step::Write),
        1 => number.clone().prop_map(Step::Reap),
        3 => Just(Step::Tick),
        1 => (number, grown).prop_map(|(number, mib)| Step::TickWhile(number, mib)),
    ];
    prop::collection::vec(step, 1..60)
}
