//! What the samples and the exit record of process images say about their peaks, read in one pass.

use std::collections::HashMap;
use std::io;

use arrow_array::Array;
use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::bound::{Bound, Source, at_exit, within};
use super::composition::{Composition, Parts};
use super::growth::Growth;
use super::reaped::Reaped;
use super::replaced::Replaced;
use super::unseen_images::unseen_before;
use crate::columns::{known, numbers, page_faults, runs, strings};
use crate::recording::{ImageRow, Recording};

/// The signal after which the memory of a process may be taken away before it has ended.
const SIGKILL: u64 = 9;

/// A process image with the results of its samples and its exit record.
pub(super) struct SampledImage {
    pub(super) row: ImageRow,
    /// The first of the largest samples.
    pub(super) composition: Option<Composition>,
    pub(super) hwm: Option<HighWaterMark>,
    pub(super) growth: Growth,
    pub(super) last_ms: Option<i64>,
    /// The tick at which its exit was known, and the instant of the exit in nanoseconds since boot.
    pub(super) exit_ms: Option<i64>,
    pub(super) exit_ns: Option<u64>,
    /// Its page faults until then, of all images of its process.
    pub(super) exit_faults: Option<u64>,
    /// Whether SIGKILL ended it, after which its memory may have been taken away before its mark was read.
    pub(super) may_be_reaped: bool,
    /// How many images of the same process came right before it and were never looked at.
    pub(super) unseen_before: u64,
    /// The largest resident set of all images of its process, as its reaper knows; `None` where nobody said so.
    pub(super) reaped_max_bytes: Option<u64>,
    /// What the kernel noted at an exec after it.
    pub(super) replaced_max_bytes: Option<u64>,
    /// The same at the exec that began it, of all images before it.
    pub(super) before_max_bytes: Option<u64>,
    /// Of an image that moved, as it was while it was of its test.
    pub(super) member: Option<MemberSamples>,
}

/// The samples of an image at which it was of its test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberSamples {
    pub(super) samples: u64,
    pub(super) first_ms: i64,
    pub(super) rss_peak_bytes: u64,
}

/// The last high-water mark that was read.
#[derive(Clone, Copy)]
pub(super) struct HighWaterMark {
    pub(super) bytes: u64,
    /// The tick at which it was read last. Nothing before it was larger.
    pub(super) read_ms: i64,
    /// Page faults of its process when it was read last.
    pub(super) faults: Option<u64>,
    /// The first tick at which it was as large.
    pub(super) reached_ms: i64,
}

const SAMPLES: [&str; 11] = [
    "ts",
    "process",
    "rss_bytes",
    "anon_bytes",
    "file_bytes",
    "shmem_bytes",
    "swap_bytes",
    "hwm_bytes",
    "minflt",
    "majflt",
    // Last, since it is left out where no image moved.
    "test",
];

/// Reads `samples` and `exits` for the images of `rows`.
pub(super) fn sampled_images(
    recording: &Recording,
    rows: Vec<ImageRow>,
) -> io::Result<Vec<SampledImage>> {
    let unseen_before = unseen_before(recording, &rows)?;
    let (reaped, replaced) = (Reaped::read(recording)?, Replaced::read(recording)?);
    let mut images = exited_images(recording, rows)?;
    for image in images.values_mut() {
        image.reaped_max_bytes = reaped.max_rss_bytes(&image.row);
        image.replaced_max_bytes = replaced.max_rss_bytes(&image.row);
        image.before_max_bytes = replaced.max_rss_bytes_before(&image.row);
    }
    for (process, unseen) in unseen_before {
        if let Some(image) = images.get_mut(&process) {
            image.unseen_before = unseen;
        }
    }
    let any_moved = images.values().any(|image| image.row.moved);
    let read = if any_moved { SAMPLES.len() } else { SAMPLES.len() - 1 };
    let columns = SAMPLES.get(..read).unwrap_or(&SAMPLES);
    for batch in recording.read_table("samples", columns) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let parts = Parts::of(&batch)?;
        let optional = |name| numbers::<Int64Type>(&batch, name);
        let (hwm, minflt) = (optional("hwm_bytes")?, optional("minflt")?);
        let majflt = optional("majflt")?;
        // A recording of an older version lacks it.
        let test = strings(&batch, "test").ok();
        for (process, rows) in runs(process) {
            let Some(image) = images.get_mut(&process) else { continue };
            for (row, &ts_ms) in rows.clone().zip(ts.get(rows).unwrap_or_default()) {
                if let (true, Some(test)) = (image.row.moved, test)
                    && image.row.test.as_deref() == test.is_valid(row).then(|| test.value(row))
                {
                    image.note_member(ts_ms, parts.rss_bytes(row));
                }
                image.observe(ts_ms, parts.rss_bytes(row), |ts| parts.at(row, ts));
                // The recording repeats the last reading; faults are not null only where both were read.
                if let Some(bytes) = known(hwm, row).filter(|_| minflt.is_valid(row)) {
                    image.note_hwm(ts_ms, bytes, page_faults(minflt, majflt, row));
                }
            }
        }
    }
    let mut images: Vec<SampledImage> = images.into_values().collect();
    // Of equal peaks the first is told, which must be the same one each time.
    images.sort_unstable_by_key(|image| image.row.process);
    Ok(images)
}

/// Reads `exits` alone for the images of `rows`; the key is `processes.process`.
pub(super) fn exited_images(
    recording: &Recording,
    rows: Vec<ImageRow>,
) -> io::Result<HashMap<u64, SampledImage>> {
    let mut images: HashMap<u64, SampledImage> =
        rows.into_iter().map(|row| (row.process, SampledImage::new(row))).collect();
    let columns = ["ts", "process", "start_ns", "lived_ns", "minflt", "majflt", "signal"];
    for batch in recording.read_table("exits", &columns) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let start = numbers::<Int64Type>(&batch, "start_ns")?.values();
        let lived = numbers::<Int64Type>(&batch, "lived_ns")?.values();
        let minflt = numbers::<Int64Type>(&batch, "minflt")?;
        let majflt = numbers::<Int64Type>(&batch, "majflt")?;
        let signal = numbers::<Int64Type>(&batch, "signal")?;
        let rows = ts.iter().zip(process).zip(start.iter().zip(lived)).enumerate();
        for (row, ((ts, process), (start, lived))) in rows {
            if let Some(image) = images.get_mut(&process.unsigned_abs()) {
                image.exit_faults = page_faults(minflt, majflt, row);
                image.may_be_reaped = known(signal, row) == Some(SIGKILL);
                image.exit_ms = Some(*ts);
                image.exit_ns = Some(start.unsigned_abs().saturating_add(lived.unsigned_abs()));
            }
        }
    }
    Ok(images)
}

impl SampledImage {
    pub(super) fn new(row: ImageRow) -> Self {
        Self {
            row,
            composition: None,
            hwm: None,
            growth: Growth::default(),
            last_ms: None,
            exit_ms: None,
            exit_ns: None,
            exit_faults: None,
            may_be_reaped: false,
            unseen_before: 0,
            reaped_max_bytes: None,
            replaced_max_bytes: None,
            before_max_bytes: None,
            member: None,
        }
    }

    /// Returns the row as far as it is of the test: of an image that moved, what was sampled meanwhile. High-water marks
    /// are those of all its life.
    pub(super) fn row_of_member(&self) -> ImageRow {
        let row = self.row.clone();
        let Some(member) = self.member.filter(|_| row.moved) else { return row };
        ImageRow {
            samples: member.samples,
            rss_peak_bytes: Some(member.rss_peak_bytes),
            hwm_bytes: None,
            exit_hwm_bytes: None,
            exit_past_hwm_bytes: None,
            ..row
        }
    }

    /// Returns what the image cannot have been larger than.
    pub(super) fn upper(&self, error_bytes: Option<u64>) -> Option<Bound> {
        let row = &self.row;
        // The kernel takes memory away from who was killed, without a look at the mark, before the mark is read. Nothing
        // tells whether it did.
        if self.may_be_reaped {
            return None;
        }
        let known = match (row.exit_hwm_bytes, self.hwm) {
            (Some(_), _) => at_exit(row, error_bytes),
            // The mark covers only the time before its reading, which must have been at the last sample.
            (None, Some(hwm)) if !row.ended && Some(hwm.read_ms) == self.last_ms => {
                within(row, hwm.bytes, error_bytes, Source::HighWaterMark)
            }
            _ => None,
        };
        known
            .or_else(|| self.replaced_upper(error_bytes))
            .or_else(|| self.reaped_upper(error_bytes))
    }

    /// Returns what no image of its process until the next exec that was seen can have been larger than.
    fn replaced_upper(&self, error_bytes: Option<u64>) -> Option<Bound> {
        within(&self.row, self.replaced_max_bytes?, error_bytes, Source::Exec)
    }

    /// Returns what no image right before it can have been larger than that was never looked at.
    pub(super) fn unseen_upper(&self, error_bytes: Option<u64>) -> Option<Bound> {
        let mark = self.before_max_bytes.zip(error_bytes);
        let bytes = mark.and_then(|(bytes, error_bytes)| bytes.checked_add(error_bytes));
        let replaced = bytes.map(|bytes| Bound { bytes, source: Source::Exec });
        replaced.or_else(|| self.reaped_upper(error_bytes))
    }

    /// Returns what no image of its process can have been larger than.
    fn reaped_upper(&self, error_bytes: Option<u64>) -> Option<Bound> {
        within(&self.row, self.reaped_max_bytes?, error_bytes, Source::Reaper)
    }

    fn observe(
        &mut self,
        ts_ms: i64,
        rss_bytes: u64,
        composed: impl FnOnce(Timestamp) -> Composition,
    ) {
        self.growth.observe(ts_ms, rss_bytes);
        self.last_ms = self.last_ms.max(Some(ts_ms));
        if self.composition.is_none_or(|largest| rss_bytes > largest.rss_bytes)
            && let Ok(ts) = Timestamp::from_millisecond(ts_ms)
        {
            self.composition = Some(composed(ts));
        }
    }

    fn note_member(&mut self, ts_ms: i64, rss_bytes: u64) {
        let member = self
            .member
            .get_or_insert(MemberSamples { first_ms: ts_ms, ..MemberSamples::default() });
        member.samples += 1;
        member.first_ms = member.first_ms.min(ts_ms);
        member.rss_peak_bytes = member.rss_peak_bytes.max(rss_bytes);
    }

    fn note_hwm(&mut self, ts_ms: i64, bytes: u64, faults: Option<u64>) {
        let before = self.hwm;
        let reached_ms =
            before.filter(|hwm| hwm.bytes >= bytes).map_or(ts_ms, |hwm| hwm.reached_ms);
        let bytes = before.map_or(bytes, |hwm| hwm.bytes.max(bytes));
        self.hwm = Some(HighWaterMark { bytes, read_ms: ts_ms, faults, reached_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::bound::is_bounded_at_exit;

    /// Returns the upper bound of an image that ended, with an error of 100 bytes.
    fn upper_of(sampled: u64, recorded: Option<u64>) -> Option<u64> {
        let row = ImageRow {
            samples: 1,
            rss_peak_bytes: Some(sampled),
            exit_hwm_bytes: recorded,
            ..ImageRow::unseen(0, 1, 0)
        };
        let image = SampledImage {
            row,
            composition: None,
            hwm: None,
            growth: Growth::default(),
            last_ms: Some(0),
            exit_ms: Some(0),
            exit_ns: Some(0),
            exit_faults: None,
            may_be_reaped: false,
            unseen_before: 0,
            reaped_max_bytes: None,
            replaced_max_bytes: None,
            before_max_bytes: None,
            member: None,
        };
        let bound = image.upper(Some(100));
        assert_eq!(bound.is_some(), is_bounded_at_exit(&image.row, Some(100)));
        bound.map(|bound| bound.bytes)
    }

    #[test]
    fn an_image_that_an_exec_replaced_is_bounded_by_the_reaper() {
        let row = ImageRow { samples: 1, rss_peak_bytes: Some(300), ..ImageRow::unseen(0, 1, 0) };
        let of = |exit_hwm_bytes, reaped_max_bytes| {
            let row = ImageRow { exit_hwm_bytes, ..row.clone() };
            let image = SampledImage { reaped_max_bytes, ..SampledImage::new(row) };
            image.upper(Some(10)).map(|bound| (bound.bytes, bound.source))
        };
        assert_eq!(of(None, Some(900)), Some((910, Source::Reaper)));
        assert_eq!(of(Some(400), Some(900)), Some((410, Source::ExitRecord)));
        // The exit record is of another program.
        assert_eq!(of(Some(100), Some(900)), Some((910, Source::Reaper)));
        // It cannot be of this process.
        assert_eq!(of(None, Some(100)), None);
    }

    #[test]
    fn what_was_noted_at_an_exec_comes_before_what_the_reaper_says() {
        let row = ImageRow { samples: 1, rss_peak_bytes: Some(300), ..ImageRow::unseen(0, 1, 0) };
        let mut image = SampledImage::new(row);
        image.reaped_max_bytes = Some(900);
        image.replaced_max_bytes = Some(500);
        image.before_max_bytes = Some(700);
        let bound = |bound: Option<Bound>| bound.map(|bound| (bound.bytes, bound.source));
        assert_eq!(bound(image.upper(Some(10))), Some((510, Source::Exec)));
        assert_eq!(bound(image.unseen_upper(Some(10))), Some((710, Source::Exec)));
        // Less than was seen cannot be of it.
        image.replaced_max_bytes = Some(100);
        assert_eq!(bound(image.upper(Some(10))), Some((910, Source::Reaper)));
    }

    #[test]
    fn what_an_image_had_when_it_gave_memory_back_has_the_error_of_a_mark_and_what_it_had_at_last_none()
     {
        let of = |past, hwm| {
            let row = ImageRow {
                samples: 1,
                rss_peak_bytes: Some(300),
                exit_hwm_bytes: Some(hwm),
                exit_past_hwm_bytes: Some(past),
                ..ImageRow::unseen(0, 1, 0)
            };
            let bound = SampledImage::new(row.clone()).upper(Some(100));
            assert_eq!(bound.is_some(), is_bounded_at_exit(&row, Some(100)));
            bound.map(|bound| bound.bytes)
        };
        assert_eq!(of(0, 2000), Some(2000));
        assert_eq!(of(1900, 2000), Some(2000));
        assert_eq!(of(1950, 2000), Some(2050));
        assert_eq!(of(2000, 2000), Some(2100));
        // Of another program.
        assert_eq!(of(100, 200), None);
        assert_eq!(of(100, 300), Some(300));
    }

    #[test]
    fn what_a_signal_ended_may_have_lost_memory_before_its_mark_was_read() {
        let row = ImageRow {
            samples: 1,
            rss_peak_bytes: Some(300),
            exit_hwm_bytes: Some(400),
            exit_past_hwm_bytes: Some(0),
            ..ImageRow::unseen(0, 1, 0)
        };
        let image = SampledImage {
            may_be_reaped: true,
            reaped_max_bytes: Some(900),
            replaced_max_bytes: Some(900),
            ..SampledImage::new(row)
        };
        assert_eq!(image.upper(Some(10)), None);
    }

    #[test]
    fn a_record_below_what_was_seen_is_of_another_program() {
        assert_eq!(upper_of(1000, Some(2000)), Some(2100));
        assert_eq!(upper_of(1000, Some(950)), Some(1050));
        assert_eq!(upper_of(1000, Some(899)), None);
        assert_eq!(upper_of(1000, None), None);
    }
}
