use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use hdrhistogram::Histogram;
use rustix::time::ClockId;

use super::control::Control;
use super::options::{Pss, RecorderOptions};
use super::schedule::{Due, Rate, Recurrence, Schedule};
use super::writing::seconds_of;
use crate::batch::{Batch, BatchTick};
use crate::cgroups::CgroupCounts;
use crate::clock::{Clock, Now, Timer};
use crate::events::{Counters, Drained, ProcessExits, TaskExit};
use crate::machine::MachineReader;
use crate::metric::{Files, Metric};
use crate::recording::rows::cgroups::CgroupSample;
use crate::recording::rows::exits::Exit;
use crate::recording::rows::ticks::Tick;
use crate::recording::{ClockAnchor, Mark, MarkKind, Quantiles};
use crate::sampler::{EndedImage, Governor, Plan, Sampler};

/// A batch is handed over after this time, so that a crash loses no more.
const MAX_BATCH_NS: u64 = 500_000_000;
/// Or when it is this large.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Ticks without samples that wait for a batch. At 1000 a second the writer may stand still for a
/// minute before even these are lost.
const MAX_WAITING_TICKS: usize = 64 * 1024;
/// `meminfo` is read at most this often.
const MEMINFO_INTERVAL: Duration = Duration::from_millis(100);
/// `vmstat` and `pressure/memory` are read at most this often; they are counters, so nothing is lost.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);
/// The wall clock is slewed by at most 500 ppm, and was set when it is off by more between two ticks.
const CLOCK_STEP_US: i64 = 10_000;
/// Quantiles are of microseconds up to an hour, with an error below one percent.
const MAX_HISTOGRAM_US: u64 = 3_600_000_000;

/// What the sampling thread knows of itself at its end.
pub(super) struct SamplingUsage {
    pub(super) sweep_us: Quantiles,
    pub(super) lateness_us: Quantiles,
    pub(super) descriptors: usize,
    pub(super) cpu_seconds: f64,
    /// How often the kernel had more ends to tell of than it could keep, after the last tick.
    pub(super) exits_lost: u32,
    /// Whether the duration is over.
    pub(super) ran_out: bool,
    /// The counters of the machine and of control groups, read once more at the end: what ended the
    /// recording may have been a kill.
    pub(super) last_counters: Batch,
}

/// The sampling thread.
pub(super) struct Sampling {
    pub(super) control: Arc<Control>,
    pub(super) full: Sender<Batch>,
    pub(super) empty: Receiver<Batch>,
    pub(super) usage: Sender<SamplingUsage>,
    pub(super) core: Core,
}

/// What it works on.
pub(super) struct Core {
    clock: Arc<dyn Clock>,
    timer: Box<dyn Timer>,
    anchor: ClockAnchor,
    schedule: Schedule,
    detail: Recurrence,
    pss: Recurrence,
    governor: Option<Governor>,
    on_change: Files,
    meminfo: Recurrence,
    counters: Recurrence,
    cgroups: Recurrence,
    /// Rows of the present tick.
    cgroup_rows: Vec<CgroupSample>,
    newborn_files: Files,
    interval_ns: u64,
    sampler: Sampler,
    machine: MachineReader,
    exits: Option<ProcessExits>,
    rollups_pending: bool,
    clock_offset_us: i64,
    sweep_us: Histogram<u64>,
    lateness_us: Histogram<u64>,
    /// The batch that is filled; `None` while all are with the writer.
    batch: Option<Batch>,
    /// What could not be put into a batch yet.
    waiting: Waiting,
}

#[derive(Default)]
struct Waiting {
    ticks: Vec<BatchTick>,
    /// Ticks that did not even fit there: added to `missed` of the next one.
    lost_ticks: u32,
    marks: Vec<Mark>,
}

impl Core {
    pub(super) fn new(
        options: &RecorderOptions,
        clock: Arc<dyn Clock>,
        timer: Box<dyn Timer>,
        start: &Now,
        mut sampler: Sampler,
        machine: MachineReader,
        exits: Option<ProcessExits>,
    ) -> Self {
        if exits.is_some() {
            sampler.expect_exits();
        }
        let interval = options.interval;
        // Wide enough for its maximum with two digits: a fixed 200 KiB.
        let histogram = || {
            Histogram::new_with_bounds(1, MAX_HISTOGRAM_US, 2).unwrap_or_else(|_| {
                unreachable!("the bounds are constants within what the histogram allows")
            })
        };
        let (pss_rate, governor) = match options.pss {
            Pss::AtRate(rate) => (rate, None),
            Pss::WithinShare(share) => (Rate::Off, Some(Governor::new(share))),
        };
        Self {
            clock,
            timer,
            anchor: ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns },
            schedule: Schedule::new(start, interval, options.duration),
            detail: Recurrence::new(options.detail, interval),
            pss: Recurrence::new(pss_rate, interval),
            governor,
            on_change: match options.detail {
                Rate::Every(_) => Files::DETAIL,
                Rate::Off | Rate::EveryTick => Files::empty(),
            },
            meminfo: Recurrence::new(Rate::Every(MEMINFO_INTERVAL), interval),
            counters: Recurrence::new(Rate::Every(COUNTERS_INTERVAL), interval),
            cgroups: Recurrence::new(options.cgroups, interval),
            cgroup_rows: Vec::new(),
            newborn_files: if options.detail == Rate::Off { Files::empty() } else { Files::DETAIL },
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            sampler,
            machine,
            exits,
            rollups_pending: false,
            clock_offset_us: 0,
            sweep_us: histogram(),
            lateness_us: histogram(),
            batch: None,
            waiting: Waiting::default(),
        }
    }

    /// Sweeps, and puts what changed into the batch.
    fn tick(&mut self, due: &Due, began: &Now) {
        let plan = self.plan(due);
        self.sampler.sweep_as_planned(&plan);
        if let Some(governor) = &mut self.governor {
            self.sampler.read_rollups_within(governor, plan.rollups_until_boot_ns);
        }
        let counts = self.sampler.counts();
        self.rollups_pending = self.governor.is_none() && counts.rollups_pending > 0;
        let ts_ms = self.anchor.utc_ms(due.planned_ns);
        let counters = self.counters.is_due(due.index);
        let mut system = self.meminfo.is_due(due.index).then(|| self.machine.read(ts_ms, counters));
        if let Some(system) = system.as_mut().filter(|_| counters) {
            system.pss = self.sampler.known_pss();
        }
        self.cgroup_rows.clear();
        let cgroups = if self.cgroups.is_due(due.index) {
            self.machine.read_cgroups(ts_ms, self.sampler.cgroup_paths(), &mut self.cgroup_rows)
        } else {
            CgroupCounts::default()
        };
        let duration_us = self.clock.now().boot_ns.saturating_sub(began.boot_ns) / 1000;
        self.sweep_us.saturating_record(duration_us);
        self.lateness_us.saturating_record(began.boot_ns.saturating_sub(due.planned_ns) / 1000);
        let mut tick = Tick {
            ts_ms,
            planned_ns: due.planned_ns,
            began_ns: began.boot_ns,
            duration_us,
            counts,
            late: due.late,
            missed: due.missed,
            dropped: 0,
            clock_offset_us: self.clock_offset_us,
            exits: Drained::default(),
            cgroups,
        };
        let Some(batch) = &mut self.batch else {
            // The writer is behind. A late sample is worse than a missing one: drop, and count.
            tick.dropped = counts.processes;
            self.waiting.push(BatchTick { tick, common_files: None, changes: 0 });
            return;
        };
        let changes = self.sampler.hand_over(&mut batch.changes);
        tick.exits =
            drain_exits(&mut self.exits, &mut self.sampler, batch, ts_ms, &self.clock.now());
        batch.ticks.push(BatchTick {
            tick,
            common_files: Some(self.sampler.common_files()),
            changes,
        });
        batch.system.extend(system);
        batch.cgroups.append(&mut self.cgroup_rows);
    }

    fn plan(&mut self, due: &Due) -> Plan {
        let mut files = Files::STATM;
        if self.detail.is_due(due.index) {
            files |= Files::DETAIL;
        }
        if self.pss.is_due(due.index) || self.rollups_pending {
            files |= Files::SMAPS_ROLLUP;
        }
        // A fifth of the interval stays free, so that the next tick is not late because of PSS.
        let rollups_until_boot_ns = due.planned_ns.saturating_add(self.interval_ns / 5 * 4);
        let (newborn_files, on_change) = (self.newborn_files, self.on_change);
        Plan { files, newborn_files, on_change, rollups_until_boot_ns }
    }

    /// Notices that the wall clock was set, or that the machine slept.
    fn watch_clock(&mut self, now: &Now, due: &Due) {
        let timeline_us = i128::from(now.boot_ns) - i128::from(self.anchor.boot_ns);
        let wall_us = i128::from(now.utc_ns) - i128::from(self.anchor.utc_ns);
        let offset_us = i64::try_from((wall_us - timeline_us) / 1000).unwrap_or(i64::MAX);
        let step_us = offset_us.saturating_sub(self.clock_offset_us);
        self.clock_offset_us = offset_us;
        let mut note = |kind, name| {
            let mark = Mark {
                ts_ms: self.anchor.utc_ms(now.boot_ns),
                boot_ns: now.boot_ns,
                kind,
                name,
                test: None,
            };
            self.waiting.marks.push(mark);
        };
        if step_us.abs() >= CLOCK_STEP_US {
            note(MarkKind::ClockStep, format!("the wall clock was set by {} ms", step_us / 1000));
        }
        if due.suspended_ns > 0 {
            note(
                MarkKind::Suspend,
                format!("the machine slept for {} ms", due.suspended_ns / 1_000_000),
            );
        }
    }

    /// Puts into the batch what ended since the last tick, such as the recorded command itself, and
    /// returns how often there was more than the kernel could keep.
    fn drain_last_exits(&mut self) -> u32 {
        let now = self.clock.now();
        let ts_ms = self.anchor.utc_ms(now.boot_ns);
        let Some(batch) = &mut self.batch else {
            return 0;
        };
        drain_exits(&mut self.exits, &mut self.sampler, batch, ts_ms, &now).overflows
    }

    fn usage(&self, ran_out: bool) -> SamplingUsage {
        let quantiles = |histogram: &Histogram<u64>| Quantiles {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        };
        SamplingUsage {
            sweep_us: quantiles(&self.sweep_us),
            lateness_us: quantiles(&self.lateness_us),
            descriptors: self.sampler.descriptors().kept,
            cpu_seconds: seconds_of(ClockId::ThreadCPUTime),
            exits_lost: 0,
            ran_out,
            last_counters: Batch::default(),
        }
    }

    fn last_counters(&mut self) -> Batch {
        let ts_ms = self.anchor.utc_ms(self.clock.now().boot_ns);
        let mut last = Batch::default();
        last.system.push(self.machine.read(ts_ms, true));
        self.machine.read_cgroups(ts_ms, self.sampler.cgroup_paths(), &mut last.cgroups);
        last
    }
}

/// Puts the processes into the batch of whose end the kernel has told.
fn drain_exits(
    exits: &mut Option<ProcessExits>,
    sampler: &mut Sampler,
    batch: &mut Batch,
    ts_ms: i64,
    now: &Now,
) -> Drained {
    let mut drained = Drained::default();
    sampler.hear_before_ends(now);
    if let Some(exits) = exits {
        drained = exits.drain(|exit| {
            let image = sampler.image_that_ended(&exit, now);
            batch.exits.push(exit_row(ts_ms, &exit, image));
        });
        sampler.forget_old_ends();
    }
    Drained { unseen: sampler.settle_births(), ..drained }
}

fn exit_row(ts_ms: i64, exit: &TaskExit, image: EndedImage) -> Exit {
    let nanos = |us: u64| us.saturating_mul(1000);
    let Counters { minflt, majflt, utime_us, stime_us } = exit.counters;
    Exit {
        ts_ms,
        process: image.identity.process,
        pid: exit.pid,
        ppid: exit.ppid,
        uid: exit.uid,
        comm: exit.comm,
        start_ns: image.identity.start_ns,
        lived_ns: nanos(exit.process_lived_us),
        status: exit.exit_code,
        hwm_bytes: exit.hwm.bytes().unwrap_or(u64::MAX),
        minflt: image.at_least(Metric::Minflt, minflt),
        majflt: image.at_least(Metric::Majflt, majflt),
        utime_ns: image.at_least(Metric::Utime, nanos(utime_us)),
        stime_ns: image.at_least(Metric::Stime, nanos(stime_us)),
        unsampled: (!image.is_known).then_some(image.identity),
    }
}

impl Waiting {
    fn push(&mut self, mut tick: BatchTick) {
        if self.ticks.len() < MAX_WAITING_TICKS {
            tick.tick.missed =
                tick.tick.missed.saturating_add(std::mem::take(&mut self.lost_ticks));
            self.ticks.push(tick);
        } else {
            self.lost_ticks = self.lost_ticks.saturating_add(1);
        }
    }

    fn move_to(&mut self, batch: &mut Batch) {
        batch.ticks.append(&mut self.ticks);
        batch.marks.append(&mut self.marks);
    }
}

impl Sampling {
    pub(super) fn run(mut self) {
        // By default the kernel may wake a thread 50 us late, to wake others with it.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        self.core.schedule.begin_at(&self.core.clock.now());
        let ran_out = self.sample();
        self.core.waiting.marks.extend(self.control.waiting_marks());
        if self.core.batch.is_none() {
            // At the end there is time to wait for the writer. If it ended, nobody needs the rest.
            self.core.batch = self.empty.recv().ok();
        }
        self.refill();
        let last_counters = self.core.last_counters();
        let exits_lost = self.core.drain_last_exits();
        self.hand_over();
        let _ = self.usage.send(SamplingUsage {
            exits_lost,
            last_counters,
            ..self.core.usage(ran_out)
        });
    }

    /// Samples until it is stopped, which is `false`, or its duration is over.
    fn sample(&mut self) -> bool {
        loop {
            let Some(deadline_boot_ns) = self.core.schedule.next_boot_ns() else {
                return true;
            };
            let waited = self.core.timer.wait_until(deadline_boot_ns, self.control.wake_file());
            if waited.is_err() || self.control.is_stopped() {
                return false;
            }
            let now = self.core.clock.now();
            self.control.clear_wake();
            self.core.waiting.marks.extend(self.control.waiting_marks());
            self.refill();
            if now.boot_ns >= deadline_boot_ns {
                let Some(due) = self.core.schedule.begin(&now) else {
                    return true;
                };
                self.core.watch_clock(&now, &due);
                self.core.tick(&due, &now);
            }
            if !self.hand_over_if_due(&now) {
                return false;
            }
        }
    }

    /// Takes an empty batch if there is none, and puts into it what waits.
    fn refill(&mut self) {
        if self.core.batch.is_none() {
            self.core.batch = self.empty.try_recv().ok();
        }
        if let Some(batch) = &mut self.core.batch {
            self.core.waiting.move_to(batch);
        }
    }

    /// Hands the batch over if the next tick would be too late for it. Returns whether somebody is
    /// there to take it.
    fn hand_over_if_due(&mut self, now: &Now) -> bool {
        let Some(batch) = &self.core.batch else {
            return true;
        };
        let began_ns = match (batch.ticks.first(), batch.marks.first()) {
            (Some(tick), _) => tick.tick.began_ns,
            (None, Some(mark)) => mark.boot_ns,
            (None, None) => return true,
        };
        let age_ns = now.boot_ns.saturating_sub(began_ns).saturating_add(self.core.interval_ns);
        if age_ns > MAX_BATCH_NS || batch.memory_bytes() >= MAX_BATCH_BYTES {
            return self.hand_over();
        }
        true
    }

    fn hand_over(&mut self) -> bool {
        match self.core.batch.take() {
            // The channel has room for every batch there is, so this fails only if the writer ended.
            Some(batch) if !batch.is_empty() => self.full.try_send(batch).is_ok(),
            batch => {
                self.core.batch = batch;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::batch::Change;
    use crate::clock::SystemClock;
    use crate::sampler::SamplerOptions;

    /// A sampling thread that this thread plays, as it plays the writer.
    fn sampling() -> (Sampling, Receiver<Batch>, Sender<Batch>) {
        let options = RecorderOptions::new().detail(Rate::Off).pss(Rate::Off);
        let clock = SystemClock::shared();
        let start = clock.now();
        let sampler = Sampler::new(SamplerOptions::default()).unwrap();
        let machine = MachineReader::open(&SamplerOptions::default()).unwrap();
        let anchor = ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns };
        let control = Arc::new(Control::new(Arc::clone(&clock), anchor, options.interval).unwrap());
        let core = Core::new(
            &options,
            Arc::clone(&clock),
            clock.timer().unwrap(),
            &start,
            sampler,
            machine,
            None,
        );
        let (full, written) = bounded(4);
        let (given_back, empty) = bounded(4);
        let (usage, _) = bounded(1);
        (Sampling { control, full, empty, usage, core }, written, given_back)
    }

    fn tick(sampling: &mut Sampling, index: u64) {
        let due = Due { index, planned_ns: index, late: 0, missed: 0, suspended_ns: 0 };
        sampling.refill();
        let now = sampling.core.clock.now();
        sampling.core.tick(&due, &now);
    }

    #[test]
    fn without_a_batch_samples_are_dropped_and_counted_and_nothing_is_stale_afterwards() {
        let (mut sampling, _written, given_back) = sampling();
        // The writer has all batches.
        (0..3).for_each(|index| tick(&mut sampling, index));
        assert!(sampling.core.batch.is_none());
        given_back.send(Batch::default()).unwrap();
        tick(&mut sampling, 3);
        let batch = sampling.core.batch.take().unwrap();
        let planned: Vec<_> = batch.ticks.iter().map(|tick| tick.tick.planned_ns).collect();
        assert_eq!(planned, [0, 1, 2, 3]);
        let (last, dropped) = batch.ticks.split_last().unwrap();
        for tick in dropped {
            assert_eq!((tick.common_files, tick.changes), (None, 0));
            assert_eq!(tick.tick.dropped, tick.tick.counts.processes);
            assert!(tick.tick.dropped > 0);
        }
        assert_eq!((last.tick.dropped, last.common_files), (0, Some(Files::STATM)));
        // Every process is in the first batch that arrives, although it was found four ticks ago.
        let begun =
            batch.changes.iter().filter(|change| matches!(change, Change::Begin(..))).count();
        let rows = batch.changes.iter().filter(|change| matches!(change, Change::Row(..))).count();
        assert_eq!((begun, rows), (last.tick.counts.processes as usize, begun));
    }

    #[test]
    fn ticks_that_wait_too_long_are_counted_as_missed() {
        let (mut sampling, ..) = sampling();
        let waiting = &mut sampling.core.waiting;
        let tick = BatchTick { tick: Tick::default(), common_files: None, changes: 0 };
        for _ in 0..MAX_WAITING_TICKS + 5 {
            waiting.push(tick.clone());
        }
        assert_eq!((waiting.ticks.len(), waiting.lost_ticks), (MAX_WAITING_TICKS, 5));
        let mut batch = Batch::default();
        waiting.move_to(&mut batch);
        waiting.push(tick);
        assert_eq!(waiting.ticks[0].tick.missed, 5);
    }

    #[test]
    fn a_writer_that_ended_ends_the_sampling() {
        let (mut sampling, written, given_back) = sampling();
        given_back.send(Batch::default()).unwrap();
        tick(&mut sampling, 0);
        drop(written);
        assert!(!sampling.hand_over());
    }
}
