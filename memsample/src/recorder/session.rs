//! A session as the sampling thread sees it: when its ticks are due, and what found no room in its queue.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use hdrhistogram::Histogram;

use super::control::Control;
use super::options::{Pss, RecorderOptions};
use super::schedule::{Due, Rate, Recurrence, Schedule, Unmet};
use super::sweeps::{Asked, SessionMessage, SessionNumber, SessionTick, Sweeps};
use super::usage::SamplingUsage;
use crate::batch::BatchTick;
use crate::clock::Now;
use crate::counts::ExitCounts;
use crate::metric::Files;
use crate::schema::marks::Mark;
use crate::schema::ticks::Tick;

/// Ticks without samples that wait for room in a queue. At 1000 a second the writer may stand still
/// for a minute before even these are lost.
const MAX_WAITING_TICKS: usize = 64 * 1024;
/// `meminfo`, `vmstat` and `pressure/memory` are read at most this often.
const MEMINFO_INTERVAL: Duration = Duration::from_millis(100);
/// Swap is looked at, and the known PSS summed up, at most this often.
const SWAP_INTERVAL: Duration = Duration::from_secs(1);
/// Quantiles are of microseconds up to an hour, with an error below one percent.
const MAX_HISTOGRAM_US: u64 = 3_600_000_000;

/// A session, as the sampling thread sees it.
pub(super) struct Session {
    pub(super) number: SessionNumber,
    pub(super) control: Arc<Control>,
    pub(super) queue: Sender<SessionMessage>,
    pub(super) schedule: Schedule,
    pub(super) interval_ns: u64,
    pub(super) detail: Recurrence,
    pub(super) pss: Recurrence,
    pub(super) meminfo: Recurrence,
    pub(super) swap: Recurrence,
    pub(super) cgroups: Recurrence,
    pub(super) on_change: Files,
    pub(super) newborn_files: Files,
    pub(super) pss_share: Option<f64>,
    /// Whether it wants exit records.
    pub(super) events: bool,
    pub(super) sweep_us: Histogram<u64>,
    pub(super) lateness_us: Histogram<u64>,
    /// Whether it has no state to which changes could be added: it is new, or missed some.
    pub(super) needs_state: bool,
    /// Whether it ever had one.
    pub(super) fed: bool,
    /// What found no room in its queue.
    pub(super) waiting: Waiting,
    pub(super) cpu_seconds_before: f64,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) ticks: Vec<(Tick, Due)>,
    /// Ticks that did not even fit there: added to `missed` of the next one.
    pub(super) lost_ticks: u32,
    /// Exits that it did not get: known ones, and one for each overflow.
    pub(super) lost_exits: u32,
    /// Processes of which only the fork and the exit were reported.
    pub(super) lost_unseen: u32,
    pub(super) marks: Vec<Mark>,
}

impl Session {
    /// Begins a session whose ticks are on the grid that counts from `epoch_boot_ns`.
    pub(super) fn new(
        number: SessionNumber,
        control: Arc<Control>,
        queue: Sender<SessionMessage>,
        options: &RecorderOptions,
        epoch_boot_ns: u64,
        now: &Now,
        cpu_seconds_before: f64,
    ) -> Self {
        let interval = options.interval;
        let (pss_rate, pss_share) = match options.pss {
            Pss::AtRate(rate) => (rate, None),
            Pss::WithinShare(share) => (Rate::Off, Some(share)),
        };
        let on_change = match options.detail {
            Rate::Every(_) => Files::DETAIL,
            Rate::Off | Rate::EveryTick => Files::empty(),
        };
        Self {
            number,
            control,
            queue,
            schedule: Schedule::new(epoch_boot_ns, now, interval, options.duration),
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            detail: Recurrence::new(options.detail, interval),
            pss: Recurrence::new(pss_rate, interval),
            meminfo: Recurrence::new(Rate::Every(MEMINFO_INTERVAL), interval),
            swap: Recurrence::new(Rate::Every(SWAP_INTERVAL), interval),
            cgroups: Recurrence::new(options.cgroups, interval),
            on_change,
            newborn_files: if options.detail == Rate::Off { Files::empty() } else { Files::DETAIL },
            pss_share,
            events: options.events,
            sweep_us: histogram(),
            lateness_us: histogram(),
            needs_state: true,
            fed: false,
            waiting: Waiting::default(),
            cpu_seconds_before,
        }
    }

    /// Returns what the session wants to be read at a tick.
    pub(super) fn asked(&mut self, due: &Due, alone: bool) -> Asked {
        // At the last tick, so that the high-water mark of who lives on is that of the whole recording.
        let is_last = self.schedule.next_boot_ns().is_none() && !self.newborn_files.is_empty();
        Asked {
            detail: self.detail.is_due(due.index) || is_last,
            pss: self.pss.is_due(due.index),
            meminfo: self.meminfo.is_due(due.index),
            swap: self.swap.is_due(due.index),
            cgroups: self.cgroups.is_due(due.index),
            alone,
        }
    }

    /// Notes what the session will not get.
    pub(super) fn miss(&mut self, sweeps: &Sweeps) {
        for due in sweeps.due.iter().filter(|due| due.session == self.number) {
            if let Some(tick) = sweeps.batch.ticks.get(due.tick) {
                self.waiting.push(tick.tick, due.due);
            }
        }
        // One that has just begun has missed nothing.
        if self.fed {
            let exits = u32::try_from(sweeps.batch.exits.len()).unwrap_or(u32::MAX);
            let drained = || sweeps.batch.ticks.iter().map(|tick| tick.tick.exits);
            let overflows: u32 = drained().map(|drained| drained.overflows).sum();
            self.waiting.lost_exits = self.waiting.lost_exits.saturating_add(exits + overflows);
            self.waiting.lost_unseen += drained().map(|drained| drained.unseen).sum::<u32>();
            self.waiting.marks.extend(sweeps.batch.marks.iter().cloned());
        }
    }

    /// Returns the ticks whose samples it did not get.
    pub(super) fn rest(&mut self) -> Sweeps {
        let mut sweeps = Sweeps::default();
        for (index, (tick, due)) in self.waiting.ticks.drain(..).enumerate() {
            sweeps.batch.ticks.push(BatchTick { tick, common_files: None, changes: 0 });
            let asked = Asked::default();
            sweeps.due.push(SessionTick { session: self.number, tick: index, due, asked });
        }
        sweeps.batch.marks.append(&mut self.waiting.marks);
        sweeps
    }

    /// Tells the writing thread that there is no more.
    pub(super) fn end(mut self, mut usage: SamplingUsage) {
        match self.events {
            true => {
                usage.exits_lost += self.waiting.lost_exits;
                usage.unseen += self.waiting.lost_unseen;
            }
            false => (usage.exits_lost, usage.unseen) = (0, 0),
        }
        let lost_ticks = self.waiting.lost_ticks;
        let Unmet { late, missed } = self.schedule.unmet();
        usage.unmet = Unmet { late, missed: missed.saturating_add(lost_ticks) };
        let rest = Box::new(self.rest());
        // The last place in the queue was kept for it.
        let _ = self.queue.try_send(SessionMessage::End { rest, usage: Box::new(usage) });
    }
}

impl Waiting {
    pub(super) fn push(&mut self, mut tick: Tick, due: Due) {
        if self.ticks.len() < MAX_WAITING_TICKS {
            // Reported with the next tick that arrives.
            tick.exits = ExitCounts::default();
            let due = self.with_lost(due);
            self.ticks.push((tick, due));
        } else {
            self.lost_ticks = self.lost_ticks.saturating_add(1);
        }
    }

    /// Counts the ticks that were lost before it.
    pub(super) fn with_lost(&mut self, mut due: Due) -> Due {
        due.missed = due.missed.saturating_add(std::mem::take(&mut self.lost_ticks));
        due
    }
}

/// Returns one that is wide enough for its maximum with two digits: 26 KiB.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_HISTOGRAM_US, 2).unwrap_or_else(|_| {
        unreachable!("the bounds are constants within what the histogram allows")
    })
}
