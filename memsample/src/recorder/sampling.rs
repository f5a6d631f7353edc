//! The sampling thread: one sweep for all sessions whose ticks are due.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use hdrhistogram::Histogram;
use rustix::time::ClockId;

use super::control::{TestOrder, Wake};
use super::exit_rows::drain_exits;
use super::sampling_thread::{Join, SamplingThread};
use super::schedule::{Due, Unmet, suspended_ns};
use super::session::Session;
use super::sweeps::{Asked, QUEUE, SessionMessage, SessionTick, SharedSweeps, Sweeps};
use super::usage::{SamplingUsage, seconds_of};
use crate::batch::{Batch, BatchTick};
use crate::clock::{Clock, Now, Timer};
use crate::counts::{CgroupCounts, ExitCounts};
use crate::events::ProcessExits;
use crate::machine::MachineReader;
use crate::metric::Files;
use crate::recording::{ClockAnchor, End, Quantiles};
use crate::sampler::{GivenUp, Governor, Plan, Sampler, TestGroups};
use crate::schema::cgroups::CgroupSample;
use crate::schema::marks::{Mark, MarkKind};
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;

/// Sweeps are handed over after this time, so that a crash loses no more.
const MAX_BATCH_NS: u64 = 500_000_000;
/// Or when they are this large.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Memory for sweeps that is kept between two uses. One is filled, one is written; more are under way
/// only while somebody is behind.
const POOL: usize = 4;
/// The wall clock is slewed by at most 500 ppm, and was set when it is off by more between two ticks.
const CLOCK_STEP_US: i64 = 10_000;

/// What the sampling thread has.
pub(super) struct Sampling {
    start: Now,
    clock: Arc<dyn Clock>,
    timer: Box<dyn Timer>,
    wake: Arc<Wake>,
    joins: Receiver<Join>,
    /// Where the shared sampler looks whether somebody samples.
    shared: Arc<Mutex<Option<SamplingThread>>>,
    /// Says that the thread lives.
    _thread: Arc<()>,
    anchor: ClockAnchor,
    /// The grid of all sessions counts from here; `None` until the first one begins.
    epoch_boot_ns: Option<u64>,
    sessions: Vec<Session>,
    sampler: Sampler,
    machine: MachineReader,
    exits: Option<ProcessExits>,
    governor: Option<Governor>,
    governor_share: Option<f64>,
    tests: TestGroups,
    on_change: Files,
    newborn_files: Files,
    rollups_pending: bool,
    suspended_ns: u64,
    clock_offset_us: i64,
    /// The sessions that have a tick now; memory that is used again.
    due_sessions: Vec<(usize, Due, Asked)>,
    /// The rows of the present tick.
    cgroup_rows: Vec<CgroupSample>,
    /// What is handed over next.
    sweeps: Sweeps,
    pool: (Sender<Sweeps>, Receiver<Sweeps>),
}

/// What the sweeps had before a tick.
#[derive(Clone, Copy)]
struct Before {
    exits: usize,
    forks: usize,
    unseen: usize,
}

impl Before {
    fn of(sweeps: &Sweeps) -> Self {
        Self { exits: sweeps.ended.len(), forks: sweeps.forks.len(), unseen: sweeps.unseen.len() }
    }
}

impl Sampling {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        timer: Box<dyn Timer>,
        wake: Arc<Wake>,
        joins: Receiver<Join>,
        (shared, thread): (Arc<Mutex<Option<SamplingThread>>>, Arc<()>),
        sampler: Sampler,
        machine: MachineReader,
    ) -> Self {
        let start = clock.now();
        Self {
            start,
            clock,
            timer,
            wake,
            joins,
            shared,
            _thread: thread,
            anchor: ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns },
            epoch_boot_ns: None,
            sessions: Vec::new(),
            sampler,
            machine,
            exits: None,
            governor: None,
            governor_share: None,
            tests: TestGroups::default(),
            on_change: Files::empty(),
            newborn_files: Files::empty(),
            rollups_pending: false,
            suspended_ns: suspended_ns(&start),
            clock_offset_us: 0,
            due_sessions: Vec::new(),
            cgroup_rows: Vec::new(),
            sweeps: Sweeps::default(),
            pool: bounded(POOL),
        }
    }

    /// Returns the instant that ties the clocks of all sessions together.
    pub(super) fn start(&self) -> Now {
        self.start
    }

    /// Samples as long as there are sessions.
    pub(super) fn run(mut self) {
        // By default the kernel may wake a thread 50 us late, to wake others with it.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        loop {
            while let Ok(join) = self.joins.try_recv() {
                self.join(join);
            }
            self.end_sessions();
            let next = self.sessions.iter().filter_map(|session| session.schedule.next_boot_ns());
            let Some(deadline_boot_ns) = next.min() else {
                if self.retire() {
                    return;
                }
                continue;
            };
            if let Err(error) = self.timer.wait_until(deadline_boot_ns, self.wake.file()) {
                let end = End::SamplingFailed(format!("cannot wait for the next tick: {error}"));
                let sessions = self.sessions.iter();
                sessions.for_each(|session| session.control.stop_because(end.clone()));
            }
            let now = self.clock.now();
            self.wake.clear();
            self.end_sessions();
            if now.boot_ns >= deadline_boot_ns {
                self.tick(&now);
            }
            self.hand_over_if_due(&now);
        }
    }

    /// Ends, unless a session has begun meanwhile. Memory and descriptors are given back.
    fn retire(&mut self) -> bool {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever begins one holds the lock.
        let retires = self.joins.is_empty();
        if retires {
            *shared = None;
        }
        retires
    }

    fn join(&mut self, join: Join) {
        let Join { number, control, queue, options, exits, events } = join;
        if let Some(events) = events {
            self.sampler.follow_events(events);
        }
        if exits.is_some() {
            self.exits = exits;
            self.sampler.expect_exits();
        }
        let now = self.clock.now();
        let epoch_boot_ns = *self.epoch_boot_ns.get_or_insert(now.boot_ns);
        let used = self.cpu_seconds();
        let session = Session::new(number, control, queue, &options, epoch_boot_ns, &now, used);
        self.sessions.push(session);
        self.combine();
    }

    /// Finds out what all sessions want together.
    fn combine(&mut self) {
        let files = |of: fn(&Session) -> Files| {
            self.sessions.iter().fold(Files::empty(), |files, session| files | of(session))
        };
        let on_change = files(|session| session.on_change);
        let newborn_files = files(|session| session.newborn_files);
        (self.on_change, self.newborn_files) = (on_change, newborn_files);
        // The largest share that somebody allowed: nobody is to pay for what others have read.
        let share = self.sessions.iter().filter_map(|session| session.pss_share).reduce(f64::max);
        if share != self.governor_share {
            self.governor_share = share;
            self.governor = share.map(Governor::new);
        }
    }

    /// Ends the sessions that were stopped or whose duration is over.
    fn end_sessions(&mut self) {
        let now = self.clock.now();
        let mut has_last_tick = false;
        for session in self.sessions.iter_mut().filter(|session| session.control.is_stopped()) {
            has_last_tick |= session.schedule.stop(&now);
        }
        if has_last_tick {
            self.tick(&now);
        }
        // Not all that are stopped by now: they have a last tick too.
        let is_over = |session: &Session| session.schedule.next_boot_ns().is_none();
        if !self.sessions.iter().any(is_over) {
            return;
        }
        // Such as the recorded command itself.
        let now = self.clock.now();
        let ts_ms = self.anchor.utc_ms(now.boot_ns);
        let Self { exits, sampler, sweeps, clock, .. } = self;
        let drained = drain_exits(exits, sampler, sweeps, ts_ms, &**clock);
        self.hand_over();
        let mut last_counters = Batch::default();
        last_counters.system.push(self.machine.read(ts_ms, true));
        let paths = self.sampler.cgroup_paths();
        self.machine.read_cgroups(ts_ms, paths, &mut last_counters.cgroups);
        let mut index = 0;
        while let Some(session) = self.sessions.get(index) {
            if !is_over(session) {
                index += 1;
                continue;
            }
            let session = self.sessions.remove(index);
            self.tests.end(session.number.0, None);
            let mut usage = self.usage(&session, drained);
            usage.last_counters.system.clone_from(&last_counters.system);
            usage.last_counters.cgroups.clone_from(&last_counters.cgroups);
            session.end(usage);
        }
        self.combine();
    }

    /// Sweeps, and notes what changed.
    fn tick(&mut self, now: &Now) {
        let alone = self.sessions.len() == 1;
        let mut due_sessions = std::mem::take(&mut self.due_sessions);
        due_sessions.clear();
        let mut planned_ns = u64::MAX;
        let mut budget_ns = u64::MAX;
        let mut asked_by_all = Asked::default();
        for (index, session) in self.sessions.iter_mut().enumerate() {
            if session.schedule.next_boot_ns().is_none_or(|next| next > now.boot_ns) {
                continue;
            }
            let Some(due) = session.schedule.begin(now) else { continue };
            let asked = session.asked(&due, alone);
            asked_by_all.add(asked);
            planned_ns = planned_ns.min(due.planned_ns);
            budget_ns = budget_ns.min(session.interval_ns);
            due_sessions.push((index, due, asked));
        }
        if due_sessions.is_empty() {
            self.due_sessions = due_sessions;
            return;
        }
        self.watch_clock(now);
        self.follow_tests(now);
        let next = self.sessions.iter().filter_map(|session| session.schedule.next_boot_ns()).min();
        if let Some(next) = next {
            budget_ns = budget_ns.min(next.saturating_sub(planned_ns));
        }
        let plan = self.plan(asked_by_all, planned_ns, budget_ns);
        self.sampler.sweep_as_planned(&plan);
        let is_round = plan.files.contains(Files::SMAPS_ROLLUP);
        self.rollups_pending = is_round && self.sampler.counts().rollups_pending > 0;
        if let Some(governor) = self.governor.as_mut().filter(|_| !is_round) {
            let until_boot_ns = plan.rollups_until_boot_ns;
            self.sampler.read_rollups_within(governor, &mut self.tests, until_boot_ns);
        }
        self.note_stuck(now);
        let ts_ms = self.anchor.utc_ms(planned_ns);
        let mut system = asked_by_all.meminfo.then(|| self.machine.read(ts_ms, asked_by_all.swap));
        if let Some(system) = system.as_mut().filter(|_| asked_by_all.swap) {
            system.pss = self.sampler.known_pss();
        }
        self.cgroup_rows.clear();
        let cgroups = match asked_by_all.cgroups {
            true => {
                let paths = self.sampler.cgroup_paths();
                self.machine.read_cgroups(ts_ms, paths, &mut self.cgroup_rows)
            }
            false => CgroupCounts::default(),
        };
        let duration_us = self.clock.now().boot_ns.saturating_sub(now.boot_ns) / 1000;
        let Self { exits, sampler, sweeps, .. } = self;
        let changes = sampler.hand_over(&mut sweeps.batch.changes);
        let before = Before::of(sweeps);
        let drained = drain_exits(exits, sampler, sweeps, ts_ms, &*self.clock);
        let batch = &mut sweeps.batch;
        let tick = Tick {
            ts_ms,
            planned_ns,
            began_ns: now.boot_ns,
            duration_us,
            counts: sampler.counts(),
            outside: 0,
            late: 0,
            missed: 0,
            dropped: 0,
            clock_offset_us: self.clock_offset_us,
            exits: drained,
            cgroups,
        };
        let common_files = Some(sampler.common_files());
        batch.ticks.push(BatchTick { tick, common_files, changes });
        batch.system.extend(system);
        batch.cgroups.extend(self.cgroup_rows.iter().cloned());
        for &(index, due, asked) in &due_sessions {
            let Some(session) = self.sessions.get_mut(index) else { continue };
            session.control.note_tick(&self.clock.now());
            session.sweep_us.saturating_record(duration_us);
            let lateness_ns = now.boot_ns.saturating_sub(due.planned_ns);
            session.lateness_us.saturating_record(lateness_ns / 1000);
            if !session.needs_state {
                let tick = self.sweeps.batch.ticks.len() - 1;
                self.sweeps.due.push(SessionTick { session: session.number, tick, due, asked });
            }
        }
        self.bring_up_to_date(&tick, system, before, &due_sessions);
        self.due_sessions = due_sessions;
    }

    /// Takes in which tests have begun and ended.
    fn follow_tests(&mut self, now: &Now) {
        for session in &self.sessions {
            for order in session.control.waiting_test_orders() {
                match order {
                    TestOrder::Begin(scope, test) => {
                        self.tests.begin(session.number.0, scope, test, now.boot_ns);
                    }
                    TestOrder::End(test) => self.tests.end(session.number.0, Some(&test)),
                }
            }
        }
    }

    fn plan(&self, asked: Asked, planned_ns: u64, budget_ns: u64) -> Plan {
        let mut files = Files::STATM;
        if asked.detail {
            files |= Files::DETAIL;
        }
        if asked.pss || self.rollups_pending {
            files |= Files::SMAPS_ROLLUP;
        }
        // A fifth of the interval stays free, so that the next tick is not late because of PSS.
        let rollups_until_boot_ns = planned_ns.saturating_add(budget_ns / 5 * 4);
        let (newborn_files, on_change) = (self.newborn_files, self.on_change);
        Plan { files, newborn_files, on_change, rollups_until_boot_ns }
    }

    /// Gives everything there is to sessions that have missed something, or everything so far.
    fn bring_up_to_date(
        &mut self,
        tick: &Tick,
        system: Option<SystemSample>,
        before: Before,
        due_sessions: &[(usize, Due, Asked)],
    ) {
        let needs_state = |(index, ..): &(usize, Due, Asked)| {
            self.sessions.get(*index).is_some_and(|session| session.needs_state)
        };
        // Not those whose queue is found full only now: their tick is among those that they miss.
        let lacking: Vec<_> = due_sessions.iter().filter(|due| needs_state(due)).copied().collect();
        if lacking.is_empty() {
            return;
        }
        // They come with the state: the first children of a program may have ended already.
        let exits = self.sweeps.batch.exits.get(before.exits..).unwrap_or_default().to_vec();
        let ended = self.sweeps.ended.get(before.exits..).unwrap_or_default().to_vec();
        let forks = self.sweeps.forks.get(before.forks..).unwrap_or_default().to_vec();
        let unseen = self.sweeps.unseen.get(before.unseen..).unwrap_or_default().to_vec();
        // What comes after the state is in another batch than what came before.
        self.hand_over();
        for (index, due, asked) in lacking {
            let Some(session) = self.sessions.get_mut(index) else { continue };
            if session.queue.len() >= QUEUE {
                session.waiting.push(*tick, due);
                continue;
            }
            let mut sweeps = session.rest();
            let changes = self.sampler.hand_over_all(&mut sweeps.batch.changes);
            let mut tick = *tick;
            if session.fed {
                // These have not been missed after all.
                let came = u32::try_from(exits.len()).unwrap_or(u32::MAX);
                let lost = std::mem::take(&mut session.waiting.lost_exits);
                // What is lost at this tick is among them.
                tick.exits.overflows = lost.saturating_sub(came);
                tick.exits.unseen = std::mem::take(&mut session.waiting.lost_unseen);
            }
            if !session.fed {
                // The others were told when these were given up.
                let stuck = self.sampler.given_up().iter().filter(|it| it.is_told);
                let mark = |it: &GivenUp| stuck_mark(it, &self.anchor, tick.began_ns);
                sweeps.batch.marks.extend(stuck.map(mark));
            }
            sweeps.batch.exits.extend(exits.iter().cloned());
            sweeps.ended.extend(ended.iter().cloned());
            sweeps.forks.extend_from_slice(&forks);
            sweeps.unseen.extend_from_slice(&unseen);
            sweeps.lacks_forks = session.fed;
            let due = session.waiting.with_lost(due);
            let common_files = Some(self.sampler.common_files());
            sweeps.batch.ticks.push(BatchTick { tick, common_files, changes });
            sweeps.batch.system.extend(system);
            sweeps.batch.cgroups.extend(self.cgroup_rows.iter().cloned());
            let number = sweeps.batch.ticks.len() - 1;
            sweeps.due.push(SessionTick { session: session.number, tick: number, due, asked });
            sweeps.is_state = true;
            // There was room, and nobody else sends; it fails only if the writer ended.
            let shared = SharedSweeps::new(sweeps, self.pool.0.clone());
            if session.queue.try_send(SessionMessage::Sweeps(shared)).is_err() {
                session.control.stop();
            }
            (session.needs_state, session.fed) = (false, true);
        }
    }

    /// Notices that the wall clock was set, or that the machine slept.
    fn watch_clock(&mut self, now: &Now) {
        let timeline_us = i128::from(now.boot_ns) - i128::from(self.anchor.boot_ns);
        let wall_us = i128::from(now.utc_ns) - i128::from(self.anchor.utc_ns);
        let offset_us = i64::try_from((wall_us - timeline_us) / 1000).unwrap_or(i64::MAX);
        let step_us = offset_us.saturating_sub(self.clock_offset_us);
        self.clock_offset_us = offset_us;
        let asleep_ns = suspended_ns(now).saturating_sub(self.suspended_ns);
        self.suspended_ns += asleep_ns;
        let mut note = |kind, name| {
            let mark = Mark {
                ts_ms: self.anchor.utc_ms(now.boot_ns),
                boot_ns: now.boot_ns,
                kind,
                name,
                test: None,
                process: None,
                labels: BTreeMap::new(),
                marked: None,
            };
            self.sweeps.batch.marks.push(mark);
        };
        if step_us.abs() >= CLOCK_STEP_US {
            note(MarkKind::ClockStep, format!("the wall clock was set by {} ms", step_us / 1000));
        }
        if asleep_ns > 0 {
            note(MarkKind::Suspend, format!("the machine slept for {} ms", asleep_ns / 1_000_000));
        }
    }

    /// Notes of which process the kernel does not let a file be read.
    fn note_stuck(&mut self, now: &Now) {
        let Self { sampler, sweeps, anchor, .. } = self;
        for given_up in sampler.given_up().iter_mut().filter(|it| it.waits && !it.is_told) {
            given_up.is_told = true;
            sweeps.batch.marks.push(stuck_mark(given_up, anchor, now.boot_ns));
        }
    }

    /// Hands over what there is if the next tick would be too late for it.
    fn hand_over_if_due(&mut self, now: &Now) {
        let batch = &self.sweeps.batch;
        let Some(first) = batch.ticks.first() else { return };
        let next = self.sessions.iter().filter_map(|session| session.schedule.next_boot_ns()).min();
        let next_ns = next.map_or(0, |next| next.saturating_sub(now.boot_ns));
        let age_ns = now.boot_ns.saturating_sub(first.tick.began_ns).saturating_add(next_ns);
        if age_ns > MAX_BATCH_NS || batch.memory_bytes() >= MAX_BATCH_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.sweeps.batch.is_empty() && self.sweeps.unseen.is_empty() {
            return;
        }
        let next = self.pool.1.try_recv().unwrap_or_default();
        let sweeps = std::mem::replace(&mut self.sweeps, next);
        let shared = SharedSweeps::new(sweeps, self.pool.0.clone());
        for session in &mut self.sessions {
            if session.needs_state {
                session.miss(shared.sweeps());
                continue;
            }
            // The last place is for the end.
            let full = session.queue.len() >= QUEUE;
            if full {
                // A late sample is worse than a missing one: drop, and count.
                session.needs_state = true;
                session.miss(shared.sweeps());
            } else if let Err(TrySendError::Disconnected(_)) =
                session.queue.try_send(SessionMessage::Sweeps(Arc::clone(&shared)))
            {
                // The writer has ended.
                session.control.stop();
            }
            session.control.set_queued(session.queue.len());
        }
    }

    /// Returns the CPU time of this thread, and of those that read for it.
    fn cpu_seconds(&self) -> f64 {
        seconds_of(ClockId::ThreadCPUTime) + self.sampler.reader_threads_cpu_ns() as f64 / 1e9
    }

    fn usage(&self, session: &Session, drained: ExitCounts) -> SamplingUsage {
        let quantiles = |histogram: &Histogram<u64>| Quantiles {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        };
        SamplingUsage {
            sweep_us: quantiles(&session.sweep_us),
            lateness_us: quantiles(&session.lateness_us),
            descriptors: self.sampler.descriptors().kept,
            cpu_seconds: self.cpu_seconds() - session.cpu_seconds_before,
            exits_lost: drained.overflows,
            unseen: drained.unseen,
            unmet: Unmet::default(),
            unattributed: 0,
            ran_out: !session.control.is_stopped(),
            sweep_note: self.sampler.sweep_note().map(str::to_owned),
            last_counters: Batch::default(),
        }
    }
}

/// Returns the mark of a reading that has not come back.
fn stuck_mark(given_up: &GivenUp, anchor: &ClockAnchor, boot_ns: u64) -> Mark {
    let GivenUp { pid, comm, file, .. } = given_up;
    Mark {
        ts_ms: anchor.utc_ms(boot_ns),
        boot_ns,
        kind: MarkKind::Stuck,
        name: format!("`{}` of {comm} ({pid}) waits for a lock", file.to_string_lossy()),
        test: None,
        process: None,
        labels: BTreeMap::new(),
        marked: None,
    }
}
