//! When process images may have lived, and what those that lived together can have had at most.

use std::cmp::Reverse;
use std::io;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMillisecondType as Millisecond;

use super::peaks::{Bound, Source};
use super::sampled_images::SampledImage;
use crate::recording::{ClockAnchor, MarkKind, Recording, numbers};
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
    pub(super) anchor: ClockAnchor,
    pub(super) ticks: &'a [i64],
    /// Whether the machine was suspended, which the length of a life does not count.
    pub(super) slept: bool,
}

impl Lives<'_> {
    /// Returns an instant before the beginning and one after the end, in nanoseconds since boot.
    pub(super) fn of(&self, image: &SampledImage) -> (u64, u64) {
        let row = &image.row;
        let begin = match row.exec {
            0 => row.start_ns,
            // It began after the tick before its first sample.
            _ => {
                let first = self.ticks.partition_point(|&tick| tick < row.first_ms);
                let before = first.checked_sub(1).and_then(|index| self.ticks.get(index));
                before.map_or(0, |&tick| self.boot_ns(tick))
            }
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

pub(super) fn slept(recording: &Recording) -> io::Result<bool> {
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
