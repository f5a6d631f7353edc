//! The memory of one role at each tick, and the series that is judged.

use memsample::analysis::MemorySums;

use super::series::{Sample, Series};

/// One in so many samples is left out at most at the end, while processes exit.
const EXIT_SHARE: usize = 20;

/// Anonymous memory and swap of one role at the ticks from its first to its last sample. Without a process it has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoleSeries {
    /// The first tick.
    first: usize,
    /// NaN where it was not read.
    bytes: Vec<f64>,
    has_resident: bool,
    has_anonymous: bool,
    /// The most processes at one tick.
    processes_max: u32,
}

/// A series and when it begins and ends, in milliseconds since 1970.
pub(crate) struct MadeSeries {
    pub(crate) series: Series,
    pub(crate) span: Option<(i64, i64)>,
}

impl RoleSeries {
    /// Adds the sums of a tick; ticks come in the order of time.
    pub(crate) fn add(&mut self, tick: usize, sums: MemorySums) {
        if self.bytes.is_empty() {
            self.first = tick;
        }
        self.has_resident |= sums.rss_bytes > 0;
        self.processes_max = self.processes_max.max(sums.processes);
        self.has_anonymous |= sums.anon_bytes > 0;
        // Every program has a stack.
        let is_read = sums.anon_bytes > 0 || sums.rss_bytes == 0;
        let bytes = sums.anon_bytes.saturating_add(sums.swap_bytes) as f64;
        self.bytes.resize(tick.saturating_sub(self.first), 0.0);
        self.bytes.push(if is_read { bytes } else { f64::NAN });
    }

    /// Returns the most processes that a sum is of: each has an error of its own.
    pub(crate) fn processes_max(&self) -> u32 {
        self.processes_max
    }

    /// Returns whether there is resident memory, and nobody knows of which kind.
    pub(crate) fn is_unread(&self) -> bool {
        self.has_resident && !self.has_anonymous
    }

    /// Returns the series of the ticks that are kept, with cycles counted by the times at which they began. The
    /// fall at the end, where processes exit, is left out.
    pub(crate) fn to_series(
        &self,
        ticks: &[i64],
        kept: impl Fn(i64) -> bool,
        cycles: Option<&[i64]>,
    ) -> MadeSeries {
        // That it had no process at some ticks says nothing of those with one.
        if self.is_unread() {
            return MadeSeries { series: Series::default(), span: None };
        }
        let ticks = ticks.get(self.first..).unwrap_or_default();
        let mut known: Vec<(i64, f64)> = ticks
            .iter()
            .zip(&self.bytes)
            .filter(|(ts_ms, bytes)| !bytes.is_nan() && kept(**ts_ms))
            .map(|(ts_ms, bytes)| (*ts_ms, *bytes))
            .collect();
        without_exit(&mut known);
        let first_ms = known.first().map_or(0, |(ts_ms, _)| *ts_ms);
        let sample = |&(ts_ms, bytes): &(i64, f64)| Sample {
            time_s: (ts_ms - first_ms) as f64 / 1000.0,
            bytes,
            cycle: cycles.map(|times| times.partition_point(|&time| time <= ts_ms) as f64),
        };
        let span = known.first().zip(known.last()).map(|(first, last)| (first.0, last.0));
        MadeSeries { series: Series::in_order(known.iter().map(sample).collect()), span }
    }
}

/// Leaves out the fall at the end, in which programs give back what they have before they exit.
fn without_exit(known: &mut Vec<(i64, f64)>) {
    let most = known.len() / EXIT_SHARE;
    let falls = known.iter().rev().zip(known.iter().rev().skip(1));
    let fall = falls.take(most).take_while(|(after, before)| after.1 <= before.1).count();
    let top = known.len().saturating_sub(fall + 1);
    let Some(level) = known.get(top).map(|(_, bytes)| *bytes) else { return };
    // What did not change is no fall.
    let keep = known.iter().skip(top).take_while(|(_, bytes)| *bytes >= level).count();
    known.truncate(top + keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(rss_bytes: u64, anon_bytes: u64) -> MemorySums {
        MemorySums { processes: 1, rss_bytes, anon_bytes, swap_bytes: 1 }
    }

    #[test]
    fn a_role_without_a_process_has_nothing_and_one_that_is_not_read_is_a_gap() {
        let mut role = RoleSeries::default();
        role.add(1, sums(9, 5));
        role.add(4, sums(9, 0));
        role.add(5, sums(9, 7));
        let made = role.to_series(&[0, 10, 20, 30, 40, 50], |_| true, Some(&[15, 50]));
        let samples: Vec<_> =
            (made.series.samples().iter()).map(|it| (it.time_s, it.bytes, it.cycle)).collect();
        let expected = [(0.0, 6.0, 0.0), (0.01, 0.0, 1.0), (0.02, 0.0, 1.0), (0.04, 8.0, 2.0)];
        assert_eq!(samples, expected.map(|(time, bytes, cycle)| (time, bytes, Some(cycle))));
        assert_eq!(made.span, Some((10, 50)));
        assert!(!role.is_unread());
        let kept = role.to_series(&[0, 10, 20, 30, 40, 50], |ts| ts > 10, None);
        assert_eq!(kept.series.samples().len(), 3);
        let mut unread = RoleSeries::default();
        unread.add(0, sums(9, 0));
        unread.add(2, sums(9, 0));
        let made = unread.to_series(&[0, 10, 20], |_| true, None);
        assert!(unread.is_unread() && made.span.is_none() && made.series.samples().is_empty());
    }

    #[test]
    fn the_exit_is_left_out_and_a_level_is_not() {
        let of = |values: &[f64]| {
            let mut known: Vec<_> = (0..).zip(values.iter().copied()).collect();
            without_exit(&mut known);
            known.len()
        };
        let level = vec![5.0; 100];
        assert_eq!(of(&level), 100);
        assert_eq!(of(&[&level[..], &[4.0, 4.0, 1.0]].concat()), 100);
        // More than a twentieth is no exit.
        let falling: Vec<f64> = (0..100).map(|at| 100.0 - f64::from(at)).collect();
        assert_eq!(of(&falling), 95);
        assert_eq!((of(&[]), of(&[1.0])), (0, 1));
    }
}
