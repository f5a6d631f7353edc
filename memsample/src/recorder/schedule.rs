//! When to sweep: instants on a grid, whatever happens between them.

use std::time::Duration;

use crate::clock::Now;

/// How often something is read that need not be read at every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Never.
    Off,
    /// At every tick.
    EveryTick,
    /// At the first tick, and then at the first tick of each such span of time.
    Every(Duration),
}

/// Two ticks of a recording have different timestamps, which are in milliseconds.
const MIN_APART_NS: u64 = 1_000_000;

/// The planned instants of a recording.
///
/// All sessions of a shared sampler count from one instant, so that those whose intervals are multiples of
/// each other meet. Two instants of a session are off that grid: the one at which it begins, and the
/// one at which it is stopped.
pub(super) struct Schedule {
    first_boot_ns: u64,
    origin_boot_ns: u64,
    interval_ns: u64,
    /// The next instant to meet, counted from 0.
    next: u64,
    /// The first instant that is not to be met any more.
    end: u64,
    /// The instant at which it was stopped, if that is to be met.
    stopped_boot_ns: Option<u64>,
    /// The instant that was met last.
    met_boot_ns: u64,
    /// By how much the clock with suspended time was ahead of the other at the last tick.
    suspended_ns: u64,
    /// What passed without a sweep before the duration was over.
    unmet: Unmet,
}

/// Planned instants that no tick stands for, since the recording ended before the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unmet {
    pub(super) late: u32,
    pub(super) missed: u32,
}

/// A planned instant that is to be met now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) index: u64,
    pub(super) planned_ns: u64,
    /// Planned instants up to this one that were not met in time.
    pub(super) late: u32,
    /// Planned instants since the last one that were not met at all.
    pub(super) missed: u32,
}

impl Schedule {
    /// Begins at `start`, on the grid that counts from `epoch_boot_ns`.
    pub(super) fn new(
        epoch_boot_ns: u64,
        start: &Now,
        interval: Duration,
        duration: Option<Duration>,
    ) -> Self {
        let interval_ns = nanos(interval).max(1);
        let since_grid_ns = start.boot_ns.saturating_sub(epoch_boot_ns) % interval_ns;
        Self {
            first_boot_ns: start.boot_ns,
            origin_boot_ns: start.boot_ns.saturating_sub(since_grid_ns),
            interval_ns,
            next: 0,
            // One sample of a duration shorter than the interval.
            end: duration.map_or(u64::MAX, |duration| nanos(duration).div_ceil(interval_ns).max(1)),
            stopped_boot_ns: None,
            met_boot_ns: 0,
            suspended_ns: suspended_ns(start),
            unmet: Unmet::default(),
        }
    }

    /// Returns the instant to wait for; `None` when the duration is over.
    pub(super) fn next_boot_ns(&self) -> Option<u64> {
        self.stopped_boot_ns.or_else(|| (self.next < self.end).then(|| self.instant(self.next)))
    }

    /// Returns the planned instants up to the end that no tick stands for.
    pub(super) fn unmet(&self) -> Unmet {
        self.unmet
    }

    /// Ends at `now`, and returns whether there is one more instant to meet: the present one, unless
    /// the last one was less than a millisecond ago.
    pub(super) fn stop(&mut self, now: &Now) -> bool {
        let Some(next_boot_ns) = self.next_boot_ns() else {
            return false;
        };
        if next_boot_ns <= now.boot_ns {
            // It is due anyway.
            self.end = self.end.min(self.index_at(now) + 1);
            return true;
        }
        self.end = self.next;
        let is_apart = now.boot_ns.saturating_sub(self.met_boot_ns) >= MIN_APART_NS;
        self.stopped_boot_ns = is_apart.then_some(now.boot_ns);
        is_apart
    }

    /// Returns the planned instant that a sweep at `now` stands for: the last one that has passed.
    ///
    /// Instants that passed without a sweep are not made up for; they would all show the same state.
    /// `None` when the duration is over; those that were left until then are [`unmet`](Self::unmet).
    pub(super) fn begin(&mut self, now: &Now) -> Option<Due> {
        if let Some(planned_ns) = self.stopped_boot_ns.take() {
            return Some(Due { index: self.next, planned_ns, late: 0, missed: 0 });
        }
        let index = self.index_at(now);
        let passed = index.min(self.end).saturating_sub(self.next);
        let suspended_ns = suspended_ns(now).saturating_sub(self.suspended_ns);
        self.suspended_ns += suspended_ns;
        // Nothing runs while the machine sleeps, so nothing was missed.
        let asleep = suspended_ns.div_ceil(self.interval_ns);
        if index >= self.end {
            self.next = self.end;
            let late = passed.saturating_sub(asleep);
            self.unmet.late += u32::try_from(late).unwrap_or(u32::MAX);
            self.unmet.missed += u32::try_from(passed).unwrap_or(u32::MAX);
            return None;
        }
        self.next = index + 1;
        let planned_ns = self.instant(index);
        self.met_boot_ns = planned_ns;
        let began_late = now.boot_ns.saturating_sub(planned_ns) > self.interval_ns / 2;
        let late = match suspended_ns {
            0 => passed + u64::from(began_late),
            _ => passed.saturating_sub(asleep),
        };
        Some(Due {
            index,
            planned_ns,
            late: u32::try_from(late).unwrap_or(u32::MAX),
            missed: u32::try_from(passed).unwrap_or(u32::MAX),
        })
    }

    /// Returns the last instant that has passed, or else the next one.
    fn index_at(&self, now: &Now) -> u64 {
        (now.boot_ns.saturating_sub(self.origin_boot_ns) / self.interval_ns).max(self.next)
    }

    fn instant(&self, index: u64) -> u64 {
        if index == 0 {
            return self.first_boot_ns;
        }
        self.origin_boot_ns.saturating_add(index.saturating_mul(self.interval_ns))
    }
}

/// Decides at which ticks something is due.
pub(super) struct Recurrence {
    /// `None`: never.
    every_ticks: Option<u64>,
    /// The span of the last tick at which it was due.
    last: Option<u64>,
}

impl Recurrence {
    pub(super) fn new(rate: Rate, interval: Duration) -> Self {
        let every_ticks = match rate {
            Rate::Off => None,
            Rate::EveryTick => Some(1),
            Rate::Every(span) => Some(nanos(span).div_ceil(nanos(interval).max(1)).max(1)),
        };
        Self { every_ticks, last: None }
    }

    /// Returns whether it is due at the tick `index`. Ticks that were missed do not shift it.
    pub(super) fn is_due(&mut self, index: u64) -> bool {
        let Some(every_ticks) = self.every_ticks else {
            return false;
        };
        let span = index / every_ticks;
        self.last.replace(span) != Some(span)
    }
}

/// Returns how long the machine was suspended since boot.
pub(super) fn suspended_ns(now: &Now) -> u64 {
    // The two clocks are read one after the other; differences below this are the time between.
    const READING_NS: u64 = 1_000_000;
    now.boot_ns.saturating_sub(now.monotonic_ns) / READING_NS * READING_NS
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const BOOT: u64 = 5_000 * MS;

    fn at(ms: u64) -> Now {
        Now { boot_ns: BOOT + ms * MS, monotonic_ns: BOOT + ms * MS, utc_ns: 0 }
    }

    fn schedule(duration: Option<u64>) -> Schedule {
        Schedule::new(BOOT, &at(0), Duration::from_millis(100), duration.map(Duration::from_millis))
    }

    fn due(index: u64, late: u32, missed: u32) -> Option<Due> {
        Some(Due { index, planned_ns: BOOT + index * 100 * MS, late, missed })
    }

    #[test]
    fn a_tick_is_late_from_half_an_interval_on() {
        let mut schedule = schedule(None);
        assert_eq!(schedule.begin(&at(0)), due(0, 0, 0));
        assert_eq!(schedule.begin(&at(150)), due(1, 0, 0));
        assert_eq!(schedule.begin(&at(251)), due(2, 1, 0));
        assert_eq!(schedule.next_boot_ns(), Some(BOOT + 300 * MS));
    }

    #[test]
    fn missed_instants_are_counted_and_not_made_up_for() {
        let mut schedule = schedule(None);
        schedule.begin(&at(0));
        assert_eq!(schedule.begin(&at(420)), due(4, 3, 3));
        assert_eq!(schedule.begin(&at(780)), due(7, 3, 2));
    }

    #[test]
    fn who_joins_begins_at_once_and_then_keeps_to_the_grid_of_all() {
        let mut joined = Schedule::new(BOOT, &at(130), Duration::from_millis(100), None);
        let instants = std::iter::from_fn(|| {
            let due = joined.begin(&at((joined.next_boot_ns()? - BOOT) / MS))?;
            assert_eq!((due.late, due.missed), (0, 0));
            Some((due.planned_ns - BOOT) / MS)
        });
        assert_eq!(instants.take(4).collect::<Vec<_>>(), [130, 200, 300, 400]);
        let mut late = Schedule::new(BOOT, &at(130), Duration::from_millis(100), None);
        assert_eq!(
            late.begin(&at(320)),
            due(2, 2, 2).map(|due| Due { planned_ns: BOOT + 300 * MS, ..due })
        );
    }

    #[test]
    fn a_duration_has_as_many_ticks_as_fit() {
        let mut one_second = schedule(Some(1000));
        let ticks = std::iter::from_fn(|| {
            let now = (one_second.next_boot_ns()? - BOOT) / MS;
            one_second.begin(&at(now))
        });
        assert_eq!(ticks.count(), 10);
        let mut short = schedule(Some(1));
        assert!(short.begin(&at(0)).is_some());
        assert_eq!(short.next_boot_ns(), None);
    }

    #[test]
    fn what_is_planned_up_to_the_end_is_met_or_missed() {
        let mut behind = schedule(Some(1000));
        assert_eq!(behind.begin(&at(5000)), None);
        assert_eq!(behind.next_boot_ns(), None);
        assert_eq!(behind.unmet(), Unmet { late: 10, missed: 10 });
        let mut stopped = schedule(Some(1000));
        stopped.begin(&at(0));
        assert!(stopped.stop(&at(5000)));
        assert_eq!(stopped.begin(&at(5000)), None);
        assert_eq!(stopped.unmet(), Unmet { late: 9, missed: 9 });
        let mut in_time = schedule(Some(200));
        in_time.begin(&at(0));
        in_time.begin(&at(100));
        assert_eq!((in_time.begin(&at(200)), in_time.unmet()), (None, Unmet::default()));
        let mut asleep = schedule(Some(1000));
        asleep.begin(&at(0));
        let awake = Now { monotonic_ns: BOOT + 40 * MS, ..at(60_040) };
        assert_eq!(asleep.begin(&awake), None);
        assert_eq!(asleep.unmet(), Unmet { late: 0, missed: 9 });
    }

    #[test]
    fn the_instant_of_the_end_is_met() {
        let mut schedule = schedule(None);
        schedule.begin(&at(0));
        schedule.begin(&at(100));
        assert!(schedule.stop(&at(130)));
        assert_eq!(schedule.next_boot_ns(), Some(BOOT + 130 * MS));
        let last = due(2, 0, 0).map(|due| Due { planned_ns: BOOT + 130 * MS, ..due });
        assert_eq!(schedule.begin(&at(131)), last);
        assert_eq!(schedule.next_boot_ns(), None);
        assert!(!schedule.stop(&at(200)));
    }

    #[test]
    fn an_instant_that_is_due_is_the_end() {
        let mut overdue = schedule(None);
        overdue.begin(&at(0));
        assert!(overdue.stop(&at(210)));
        assert_eq!(overdue.begin(&at(210)), due(2, 1, 1));
        assert_eq!(overdue.next_boot_ns(), None);
        let mut just_met = schedule(None);
        just_met.begin(&at(0));
        let now = Now { boot_ns: BOOT + MS - 1, ..at(0) };
        assert!(!just_met.stop(&now));
        assert_eq!(just_met.next_boot_ns(), None);
        let mut over = schedule(Some(100));
        over.begin(&at(0));
        assert!(!over.stop(&at(50)));
    }

    #[test]
    fn time_asleep_is_missed_and_not_late() {
        let mut schedule = schedule(None);
        schedule.begin(&at(0));
        let awake = Now { boot_ns: BOOT + 60_040 * MS, monotonic_ns: BOOT + 40 * MS, utc_ns: 0 };
        let due = schedule.begin(&awake).unwrap();
        assert_eq!((due.index, due.late, due.missed), (600, 0, 599));
        assert_eq!(suspended_ns(&awake), 60_000 * MS);
        let next = Now { boot_ns: BOOT + 60_100 * MS, monotonic_ns: BOOT + 100 * MS, utc_ns: 0 };
        assert_eq!(schedule.begin(&next).unwrap().missed, 0);
    }

    #[test]
    fn recurrences_keep_to_their_spans() {
        let due = |rate, ticks: &[u64]| -> Vec<u64> {
            let mut recurrence = Recurrence::new(rate, Duration::from_millis(100));
            ticks.iter().copied().filter(|&tick| recurrence.is_due(tick)).collect()
        };
        let all: Vec<u64> = (0..25).collect();
        assert_eq!(due(Rate::Every(Duration::from_secs(1)), &all), [0, 10, 20]);
        assert_eq!(due(Rate::Every(Duration::from_millis(250)), &all[..7]), [0, 3, 6]);
        assert_eq!(due(Rate::EveryTick, &all[..3]), [0, 1, 2]);
        assert_eq!(due(Rate::Every(Duration::from_millis(1)), &all[..3]), [0, 1, 2]);
        assert!(due(Rate::Off, &all).is_empty());
        // Tick 10 was missed.
        assert_eq!(due(Rate::Every(Duration::from_secs(1)), &[0, 9, 11, 12, 20]), [0, 11, 20]);
    }
}
