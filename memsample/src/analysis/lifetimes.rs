//! The spans of time in which process images may have lived.

use std::io;

use arrow_array::types::TimestampMillisecondType as Millisecond;

use super::sampled_image::SampledImage;
use super::shared_maps::SharedMaps;
use super::upper_sum::MemoryHolder;
use crate::columns::{numbers, strings};
use crate::recording::{ClockAnchor, ForksBy, Recording};
use crate::schema::marks::MarkKind;
use crate::units::START_STEP_NS;

/// The spans of time in which process images may have lived.
pub(super) struct Lifetimes<'a> {
    anchor: ClockAnchor,
    ticks: &'a [i64],
    /// Whether the machine was suspended: the kernel does not count that time in the length of a life.
    slept: bool,
    /// Whether the kernel reported every fork and exec. Otherwise the start of an image that was never
    /// sampled is an estimate.
    has_all_forks: bool,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn new(recording: &Recording, ticks: &'a [i64]) -> io::Result<Self> {
        let manifest = recording.manifest();
        let provenance = &manifest.provenance;
        Ok(Self {
            anchor: provenance.clock,
            ticks,
            slept: slept(recording)?,
            has_all_forks: provenance.settings.forks == ForksBy::ProcConnector
                && manifest.totals.events_lost == 0,
        })
    }

    /// Returns an instant before the start and one after the end of an image, in nanoseconds since boot.
    pub(super) fn of(&self, image: &SampledImage) -> (u64, u64) {
        let row = &image.row;
        let before = |ts_ms: i64| {
            let tick = self.ticks.partition_point(|&tick| tick < ts_ms).checked_sub(1);
            tick.and_then(|index| self.ticks.get(index)).map(|&tick| self.boot_ns(tick))
        };
        let begin = match (row.exec, row.samples, image.exit_ns) {
            // Its start is estimated: the time at which its exit record was read, up to one tick after the
            // exit, less its length of life, which does not include time asleep.
            (_, 0, Some(exit_ns)) if !self.has_all_forks => {
                let lived_ns = exit_ns.saturating_sub(row.start_ns);
                let read_ms = image.exit_ms.unwrap_or(row.first_ms);
                let ended_after = before(read_ms).filter(|_| !self.slept);
                ended_after
                    .map_or(0, |ended_ns| ended_ns.saturating_sub(lived_ns))
                    .min(row.start_ns)
            }
            (0, ..) => row.start_ns,
            // No sweep found it, and a sweep can be as late as the next tick; its exit record can be later.
            (_, 0, Some(exit_ns)) if !self.slept => {
                let until = self.ticks.partition_point(|&tick| self.boot_ns(tick) <= exit_ns);
                let found_none = until.checked_sub(2).and_then(|index| self.ticks.get(index));
                let after = found_none.map_or(0, |&tick| self.boot_ns(tick));
                after.min(before(row.first_ms).unwrap_or(0)).max(row.start_ns)
            }
            (_, 0, _) => row.start_ns,
            // It started after the tick before its first sample.
            _ => before(row.first_ms).unwrap_or(0).max(row.start_ns),
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

    /// Returns the span of time in which images of the same process ran that came before this one.
    pub(super) fn before(&self, image: &SampledImage) -> (u64, u64) {
        let (begin, end) = self.of(image);
        let begun = match image.row.samples {
            0 => end,
            // It had begun when it was sampled.
            _ => self.boot_ns(image.row.first_ms.saturating_add(1)).min(end),
        };
        (begin.min(image.row.start_ns), begun)
    }

    /// Returns who has the memory of an image. Where an exec may have gone unseen, the image may be one that has got a
    /// map of its own since, and all that was shared may be twice.
    pub(super) fn holder(&self, image: &SampledImage, maps: &SharedMaps) -> MemoryHolder {
        let row = &image.row;
        let map = maps.map_of(row.process).filter(|_| self.has_all_forks);
        map.map_or(MemoryHolder::Process((row.pid, row.start_ns)), MemoryHolder::Map)
    }

    /// Returns whether the kernel reported every fork and exec.
    pub(super) fn has_all_forks(&self) -> bool {
        self.has_all_forks
    }

    /// Returns whether the ends in exit records are instants since boot: not where the machine slept.
    pub(super) fn knows_ends(&self) -> bool {
        !self.slept
    }

    /// Returns when the recording began, in nanoseconds since boot.
    pub(super) fn begin_ns(&self) -> u64 {
        self.anchor.boot_ns
    }

    /// Returns the last tick whose samples were all read at this instant; `None` where there is none. A sweep can be as
    /// late as the next tick.
    pub(super) fn read_before(&self, boot_ns: u64) -> Option<i64> {
        let until = self.ticks.partition_point(|&tick| self.boot_ns(tick) <= boot_ns);
        self.ticks.get(until.checked_sub(2)?).copied()
    }

    /// Returns an instant in milliseconds since 1970, rounded down.
    pub(super) fn ts_ms(&self, boot_ns: u64) -> i64 {
        let since_anchor = i128::from(boot_ns) - i128::from(self.anchor.boot_ns);
        let utc_ns = i128::from(self.anchor.utc_ns) + since_anchor;
        i64::try_from(utc_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)
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
        let suspend = MarkKind::Suspend.as_str();
        if strings(&batch, "kind")?.iter().any(|kind| kind == Some(suspend)) {
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

    /// Returns the earliest start, in milliseconds, of an image that was never sampled and whose start was
    /// estimated as 150 ms by a record that was read at the tick at 200 ms.
    fn begin_ms(slept: bool, has_all_forks: bool) -> u64 {
        let lifetimes = Lifetimes {
            anchor: ClockAnchor { boot_ns: 0, utc_ns: 0 },
            ticks: &[0, 100, 200, 300],
            slept,
            has_all_forks,
        };
        let row = ImageRow { start_ns: 150 * MS, ..ImageRow::unseen(0, 1, 0) };
        let mut image = SampledImage::new(row);
        (image.exit_ms, image.exit_ns) = (Some(200), Some(200 * MS));
        lifetimes.of(&image).0 / MS
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
