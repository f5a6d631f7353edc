//! When process images may have lived, and what those that lived together can have had at most.

use std::cmp::Reverse;
use std::io;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType as Millisecond;

use super::peaks::{Bound, Source};
use super::sampled_images::SampledImage;
use crate::recording::{ClockAnchor, ForksBy, Recording, numbers};
use crate::schema::marks::MarkKind;
use crate::units::START_STEP_NS;

/// The largest sum of upper bounds of images that may have lived at the same time.
#[derive(Debug, Default)]
pub(super) struct UpperSum {
    /// When members began, and ended, and by how much their upper bound changes the sum.
    changes: Vec<(u64, i128)>,
    unbounded: u64,
}

impl UpperSum {
    /// Adds an image that lived in this span of time.
    pub(super) fn add(&mut self, (begin_ns, end_ns): (u64, u64), upper: Option<Bound>) {
        match upper {
            Some(upper) => {
                self.changes.push((begin_ns, i128::from(upper.bytes)));
                self.changes.push((end_ns, -i128::from(upper.bytes)));
            }
            None => self.unbounded += 1,
        }
    }

    /// Returns how many images have no upper bound.
    pub(super) fn unbounded(&self) -> u64 {
        self.unbounded
    }

    /// Returns the bound, which is not below `lower_bytes`; `None` where a member has none.
    pub(super) fn largest(mut self, lower_bytes: u64) -> Option<Bound> {
        if self.unbounded > 0 {
            return None;
        }
        // At the same instant those who begin come first.
        self.changes.sort_unstable_by_key(|&(at_ns, change)| (at_ns, Reverse(change)));
        let mut sum = 0_i128;
        let sums = self.changes.iter().map(|(_, change)| {
            sum += change;
            sum
        });
        let bytes = u64::try_from(sums.max().unwrap_or(0)).unwrap_or(u64::MAX);
        Some(Bound { bytes: bytes.max(lower_bytes), source: Source::SumOfMembers })
    }
}

/// When process images may have lived.
pub(super) struct Lives<'a> {
    anchor: ClockAnchor,
    ticks: &'a [i64],
    /// Whether the machine was suspended, which the length of a life does not count.
    slept: bool,
    /// Whether the kernel told of every birth. Else the start of an image that was never looked at is an
    /// estimate.
    are_births_told: bool,
}

impl<'a> Lives<'a> {
    pub(super) fn new(recording: &Recording, ticks: &'a [i64]) -> io::Result<Self> {
        let manifest = recording.manifest();
        let provenance = &manifest.provenance;
        Ok(Self {
            anchor: provenance.clock,
            ticks,
            slept: slept(recording)?,
            are_births_told: provenance.settings.forks == ForksBy::ProcConnector
                && manifest.totals.events_lost == 0,
        })
    }

    /// Returns an instant before the beginning and one after the end, in nanoseconds since boot.
    pub(super) fn of(&self, image: &SampledImage) -> (u64, u64) {
        let row = &image.row;
        let before = |ts_ms: i64| {
            let tick = self.ticks.partition_point(|&tick| tick < ts_ms).checked_sub(1);
            tick.and_then(|index| self.ticks.get(index)).map(|&tick| self.boot_ns(tick))
        };
        let begin = match (row.exec, row.samples, image.exit_ns) {
            // Its length of life was counted back from when its record was read, up to one tick after its
            // end; and the record does not count time asleep.
            (_, 0, Some(exit_ns)) if !self.are_births_told => {
                let lived_ns = exit_ns.saturating_sub(row.start_ns);
                let read_ms = image.exit_ms.unwrap_or(row.first_ms);
                let ended_after = before(read_ms).filter(|_| !self.slept);
                ended_after
                    .map_or(0, |ended_ns| ended_ns.saturating_sub(lived_ns))
                    .min(row.start_ns)
            }
            (0, ..) => row.start_ns,
            // It began after the tick before its first sample.
            _ => before(row.first_ms).unwrap_or(0),
        };
        let noticed = match (image.exit_ms, row.ended) {
            (Some(exit_ms), _) => self.boot_ns(exit_ms.saturating_add(1)),
            (None, true) => {
                let after = self.ticks.partition_point(|&tick| tick <= row.last_ms);
                self.ticks.get(after).map_or(u64::MAX, |&tick| self.boot_ns(tick))
            }
            (None, false) => u64::MAX,
        };
        let end = match image.exit_ns {
            Some(exit_ns) if !self.slept => exit_ns.saturating_add(START_STEP_NS).min(noticed),
            _ => noticed,
        };
        (begin, end.max(begin))
    }

    fn boot_ns(&self, ts_ms: i64) -> u64 {
        let since_anchor = i128::from(ts_ms) * 1_000_000 - i128::from(self.anchor.utc_ns);
        u64::try_from(i128::from(self.anchor.boot_ns) + since_anchor).unwrap_or(0)
    }
}

/// Returns the ticks, ascending, in milliseconds since 1970.
pub(super) fn ticks(recording: &Recording) -> io::Result<Vec<i64>> {
    let mut ticks = Vec::new();
    for batch in recording.read_table("ticks", &["ts"]) {
        ticks.extend_from_slice(numbers::<Millisecond>(&batch?, "ts")?.values());
    }
    ticks.sort_unstable();
    ticks.dedup();
    Ok(ticks)
}

fn slept(recording: &Recording) -> io::Result<bool> {
    for batch in recording.read_table("marks", &["kind"]) {
        let batch = batch?;
        let kinds = batch.column_by_name("kind").and_then(|column| column.as_string_opt::<i32>());
        let suspend = MarkKind::Suspend.as_str();
        if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == Some(suspend))) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::ImageRow;

    const MS: u64 = 1_000_000;

    /// When an image may have begun that was never looked at, counted back to 150 ms from a record that
    /// was read at the tick at 200 ms, in milliseconds.
    fn begin_ms(slept: bool, are_births_told: bool) -> u64 {
        let lives = Lives {
            anchor: ClockAnchor { boot_ns: 0, utc_ns: 0 },
            ticks: &[0, 100, 200, 300],
            slept,
            are_births_told,
        };
        let row = ImageRow { start_ns: 150 * MS, ..ImageRow::unseen(0, 1, 0) };
        let mut image = SampledImage::new(row);
        (image.exit_ms, image.exit_ns) = (Some(200), Some(200 * MS));
        lives.of(&image).0 / MS
    }

    #[test]
    fn a_start_that_was_counted_back_may_have_been_a_tick_before() {
        // It lived for 50 ms, and ended after the tick at 100 ms.
        assert_eq!(begin_ms(false, false), 50);
        assert_eq!(begin_ms(false, true), 150);
        // It may have slept for any time.
        assert_eq!(begin_ms(true, false), 0);
    }
}
