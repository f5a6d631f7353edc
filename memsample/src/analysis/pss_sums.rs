//! The proportional sets of a test: which readings hold at a tick, of how much of its memory they tell, and by how much
//! their sum may be wrong.

use std::collections::HashMap;
use std::io;

use jiff::Timestamp;

use super::bound::Bound;
use super::test_pss::{PssMissing, PssPeak, is_nearly};

/// A reading holds no longer: what processes share may change while their resident sets do not.
const MAX_AGE_MS: i64 = 2000;

/// The last reading of each process image, and which images may have ended while others were read.
#[derive(Default)]
pub(super) struct PssReadings {
    last: HashMap<u64, PssReading>,
    /// The tick of the last sample of each such image.
    leaving: HashMap<u64, i64>,
}

#[derive(Clone, Copy)]
struct PssReading {
    ts_ms: i64,
    pss_bytes: u64,
    /// The part of the PSS that is of pages which others map too.
    shared_bytes: u64,
    rss_bytes: u64,
    /// Whether there is no later sample of the image yet.
    is_newest: bool,
}

/// A row of an image: its resident set, and its PSS and USS if they were read at this tick, in bytes.
#[derive(Clone, Copy)]
pub(super) struct PssRow {
    pub(super) process: u64,
    pub(super) ts_ms: i64,
    pub(super) rss_bytes: u64,
    pub(super) pss_bytes: Option<u64>,
    pub(super) uss_bytes: Option<u64>,
}

/// What a process had given back at the sample after a reading, and may have given back while others were read.
///
/// What it shared with them is then in its reading, and in theirs with another share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenBack {
    /// The tick of the reading.
    pub(super) ts_ms: i64,
    pub(super) bytes: u64,
}

/// The sums of a test at one tick, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct PssSum {
    rss_bytes: u64,
    covered_bytes: u64,
    age_ms: i64,
    all: Readings,
    /// Those of this tick.
    fresh: Option<Readings>,
}

/// The sum of readings.
#[derive(Clone, Copy, Default)]
struct Readings {
    pss_bytes: u64,
    largest_bytes: u64,
    /// What may be in two readings, since a process ended or gave it back between them.
    twice_bytes: u64,
    /// The part that is of pages which others map too, of this test or not.
    shared_bytes: u64,
}

/// The sums of a test at all ticks.
#[derive(Default)]
pub(super) struct PssSums {
    /// The ticks between which an image began or ended, so that what the others share changed. Sorted before use.
    changes_ms: Vec<i64>,
    is_sorted: bool,
    /// What processes without a sample may have shared with the others while these were read, by tick.
    unsampled_bytes: HashMap<i64, u64>,
    /// The largest sum that is known, and its tick.
    largest: Option<(PssSum, i64)>,
    /// The largest sum of resident sets that was read.
    read_rss_bytes: u64,
    /// Whether any was read, and the largest sum of resident sets that was, but for who came or went meanwhile.
    is_read: bool,
    changed_rss_bytes: u64,
}

impl PssReadings {
    /// Notes that an image may have ended while others were read, at the tick of its last sample.
    pub(super) fn note_leaving(&mut self, process: u64, last_ms: i64) {
        self.leaving.insert(process, last_ms);
    }

    /// Adds a row of an image to the sums of its test at that tick. The rows of an image come in the order of time.
    /// Returns what is to be added to the sums at the tick of its last reading.
    pub(super) fn add(
        &mut self,
        sum: &mut PssSum,
        test: &mut PssSums,
        row: PssRow,
    ) -> Option<GivenBack> {
        let PssRow { process, ts_ms, rss_bytes, pss_bytes, uss_bytes } = row;
        sum.rss_bytes = sum.rss_bytes.saturating_add(rss_bytes);
        let before = self.last.get_mut(&process).filter(|before| before.is_newest);
        let given_back = before.and_then(|before| {
            before.is_newest = false;
            let bytes = before.twice_bytes(before.rss_bytes.saturating_sub(rss_bytes));
            (bytes > 0).then_some(GivenBack { ts_ms: before.ts_ms, bytes })
        });
        if let Some(pss_bytes) = pss_bytes {
            let shared_bytes = pss_bytes.saturating_sub(uss_bytes.unwrap_or(0));
            let reading = PssReading { ts_ms, pss_bytes, shared_bytes, rss_bytes, is_newest: true };
            self.last.insert(process, reading);
            let leaves = self.leaving.get(&process) == Some(&ts_ms);
            let twice_bytes = if leaves { reading.twice_bytes(rss_bytes) } else { 0 };
            sum.fresh.get_or_insert_default().add(&reading, pss_bytes, twice_bytes);
            sum.all.twice_bytes = sum.all.twice_bytes.saturating_add(twice_bytes);
        }
        let Some(&reading) = self.last.get(&process) else { return given_back };
        let age_ms = ts_ms.saturating_sub(reading.ts_ms);
        // Not carried where somebody without a sample may have been in it.
        let is_carried = age_ms > 0;
        if age_ms > MAX_AGE_MS
            || test.changed_between(reading.ts_ms, ts_ms)
            || (is_carried && test.unsampled_bytes.contains_key(&reading.ts_ms))
        {
            return given_back;
        }
        // What has come since is not in the reading, and what has gone is in it.
        let changed = rss_bytes.abs_diff(reading.rss_bytes);
        sum.covered_bytes = sum.covered_bytes.saturating_add(rss_bytes.saturating_sub(changed));
        sum.all.add(&reading, reading.pss_bytes.min(rss_bytes.max(reading.rss_bytes)), 0);
        sum.age_ms = sum.age_ms.max(age_ms);
        given_back
    }
}

impl PssReading {
    /// Returns how much of what this process gave back after its reading may be in the readings of others too: no more
    /// than its part of what it shared, which is divided among the others then.
    fn twice_bytes(&self, given_back_bytes: u64) -> u64 {
        given_back_bytes.min(self.shared_bytes)
    }
}

impl Readings {
    fn add(&mut self, reading: &PssReading, pss_bytes: u64, twice_bytes: u64) {
        self.pss_bytes = self.pss_bytes.saturating_add(pss_bytes);
        self.largest_bytes = self.largest_bytes.max(pss_bytes);
        self.twice_bytes = self.twice_bytes.saturating_add(twice_bytes);
        self.shared_bytes = self.shared_bytes.saturating_add(reading.shared_bytes);
    }

    /// Returns what the processes had together at least.
    fn certain_bytes(&self) -> u64 {
        self.pss_bytes.saturating_sub(self.twice_bytes).max(self.largest_bytes)
    }
}

impl PssSum {
    /// Returns the resident sets, whether PSS was read of them or not.
    pub(super) fn rss_bytes(&self) -> u64 {
        self.rss_bytes
    }

    /// Returns what those had at least that were read at this tick; `None` where none was.
    pub(super) fn fresh_bytes(&self) -> Option<u64> {
        self.fresh.map(|fresh| fresh.certain_bytes())
    }

    /// Adds what a process that was read at this tick may have given back while others were read.
    pub(super) fn add_given_back(&mut self, bytes: u64) {
        self.all.twice_bytes = self.all.twice_bytes.saturating_add(bytes);
        if let Some(fresh) = &mut self.fresh {
            fresh.twice_bytes = fresh.twice_bytes.saturating_add(bytes);
        }
    }
}

impl PssSums {
    /// Notes the first and the last sample of an image.
    pub(super) fn note_image(&mut self, first_ms: i64, last_ms: i64) {
        self.changes_ms.extend([first_ms, last_ms.saturating_add(1)]);
        self.is_sorted = false;
    }

    /// Notes a process without a sample that may have lived while others were read, and what it shared with them at
    /// most. Its part of each page is that of any other process that maps the page.
    pub(super) fn note_unsampled(&mut self, ts_ms: i64, bytes: u64) {
        let sum = self.unsampled_bytes.entry(ts_ms).or_default();
        *sum = sum.saturating_add(bytes);
    }

    fn changed_between(&mut self, before_ms: i64, ts_ms: i64) -> bool {
        if !self.is_sorted {
            self.changes_ms.sort_unstable();
            self.is_sorted = true;
        }
        let until = |ts_ms| self.changes_ms.partition_point(|&change_ms| change_ms <= ts_ms);
        before_ms != ts_ms && until(before_ms) != until(ts_ms)
    }

    pub(super) fn observe(&mut self, sum: PssSum, ts_ms: i64) {
        let pss_bytes = sum.all.pss_bytes;
        let too_high_bytes = pss_bytes.saturating_sub(sum.all.certain_bytes());
        let unsampled_bytes = self.unsampled_bytes.get(&ts_ms).copied().unwrap_or(0);
        let too_low_bytes = sum.fresh.map_or(0, |fresh| unsampled_bytes.min(fresh.shared_bytes));
        let error_bytes = too_high_bytes.max(too_low_bytes);
        self.is_read |= sum.fresh.is_some();
        if !is_nearly(sum.covered_bytes, sum.rss_bytes) {
            return;
        }
        if !is_nearly(pss_bytes.saturating_sub(error_bytes), pss_bytes) {
            self.changed_rss_bytes = self.changed_rss_bytes.max(sum.rss_bytes);
            return;
        }
        self.read_rss_bytes = self.read_rss_bytes.max(sum.rss_bytes);
        if self.largest.is_none_or(|(largest, _)| pss_bytes > largest.all.pss_bytes) {
            self.largest = Some((sum, ts_ms));
        }
    }

    /// Returns the largest sum of resident sets of which nearly all was read.
    pub(super) fn read_rss_bytes(&self) -> u64 {
        self.read_rss_bytes
    }

    /// Returns why there is no peak; `None` where there is one.
    pub(super) fn missing(&self, samples: u64, rss_peak_bytes: u64) -> Option<PssMissing> {
        match self.read_rss_bytes {
            _ if samples == 0 => Some(PssMissing::NotSampled),
            _ if !self.is_read => Some(PssMissing::NotRead),
            bytes if is_nearly(bytes, rss_peak_bytes) => None,
            _ if is_nearly(self.changed_rss_bytes, rss_peak_bytes) => Some(PssMissing::Changed),
            0 if self.changed_rss_bytes > 0 => Some(PssMissing::Changed),
            0 => Some(PssMissing::NeverWhole),
            bytes => Some(PssMissing::ReadUpTo(bytes)),
        }
    }

    /// Returns the peak; `None` where nothing was read near the peak of the resident sets.
    pub(super) fn peak(
        &self,
        rss_peak_bytes: u64,
        upper: Option<Bound>,
    ) -> io::Result<Option<PssPeak>> {
        let Some((sum, ts_ms)) = self.largest else { return Ok(None) };
        if !is_nearly(self.read_rss_bytes, rss_peak_bytes) {
            return Ok(None);
        }
        let bytes = sum.all.pss_bytes;
        Ok(Some(PssPeak {
            bytes,
            upper: upper.map(|upper| Bound { bytes: upper.bytes.max(bytes), ..upper }),
            at: Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)?,
            rss_bytes: sum.rss_bytes,
            covered_bytes: sum.covered_bytes,
            age_ms: sum.age_ms.unsigned_abs(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (i64, u64, u64, Option<u64>);

    /// Two processes share what is in a resident set beyond its PSS.
    fn row((ts_ms, process, rss_bytes, pss_bytes): Row) -> PssRow {
        let uss_bytes = pss_bytes.map(|pss| pss.saturating_sub(rss_bytes.saturating_sub(pss)));
        PssRow { process, ts_ms, rss_bytes, pss_bytes, uss_bytes }
    }

    /// Adds rows of (tick, process, RSS, PSS) and returns the peak and its age, where the resident sets had that peak.
    fn peak(images: &[(i64, i64)], rows: &[Row], rss_peak_bytes: u64) -> Option<(u64, u64)> {
        peak_with(PssReadings::default(), PssSums::default(), images, rows, rss_peak_bytes)
    }

    fn peak_with(
        mut readings: PssReadings,
        mut sums: PssSums,
        images: &[(i64, i64)],
        rows: &[Row],
        rss_peak_bytes: u64,
    ) -> Option<(u64, u64)> {
        images.iter().for_each(|&(first_ms, last_ms)| sums.note_image(first_ms, last_ms));
        let mut ticks = std::collections::BTreeMap::<i64, PssSum>::new();
        for &of_tick in rows {
            let sum = ticks.entry(of_tick.0).or_default();
            if let Some(given_back) = readings.add(sum, &mut sums, row(of_tick)) {
                ticks.get_mut(&given_back.ts_ms).unwrap().add_given_back(given_back.bytes);
            }
        }
        ticks.into_iter().for_each(|(ts_ms, sum)| sums.observe(sum, ts_ms));
        sums.peak(rss_peak_bytes, None).unwrap().map(|peak| (peak.bytes, peak.age_ms))
    }

    /// Returns the peak of four processes of 300 with these readings, the first of which leaves.
    fn peak_of_four(pss: [u64; 4], leaves: bool) -> Option<(u64, u64)> {
        let mut readings = PssReadings::default();
        if leaves {
            readings.note_leaving(1, 100);
        }
        let rows: Vec<Row> =
            pss.into_iter().zip(1..).map(|(pss, n)| (100, n, 300, Some(pss))).collect();
        peak_with(readings, PssSums::default(), &[(100, 100); 4], &rows, 1200)
    }

    #[test]
    fn a_page_that_is_in_two_readings_is_not_told_twice() {
        // One of four was read, and ended; then the three others, among which the same memory is divided.
        assert_eq!(peak_of_four([75, 100, 100, 100], true), None);
        assert_eq!(peak_of_four([75, 75, 75, 75], false), Some((300, 0)));
        // What it had was its own.
        assert_eq!(peak_of_four([290, 300, 300, 300], true), Some((1190, 0)));
        // It was in no other reading.
        let mut readings = PssReadings::default();
        readings.note_leaving(1, 100);
        let alone = [(100, 1, 300, Some(75))];
        let sums = PssSums::default();
        assert_eq!(peak_with(readings, sums, &[(100, 100)], &alone, 300), Some((75, 0)));
    }

    #[test]
    fn what_was_given_back_after_a_reading_may_be_in_another() {
        let rows = |after| {
            [
                (100, 1, 300, Some(150)),
                (200, 1, after, None),
                (100, 2, 300, Some(300)),
                (200, 2, 300, None),
            ]
        };
        let both = [(100, 200), (100, 200)];
        assert_eq!(peak(&both, &rows(0), 600), None);
        assert_eq!(peak(&both, &rows(300), 600), Some((450, 0)));
    }

    #[test]
    fn what_is_certain_of_the_readings_of_a_tick_counts_a_page_once() {
        let (mut readings, mut sums) = (PssReadings::default(), PssSums::default());
        readings.note_leaving(1, 100);
        let mut sum = PssSum::default();
        for (process, pss_bytes) in [(1, 75), (2, 100), (3, 100), (4, 100)] {
            readings.add(&mut sum, &mut sums, row((100, process, 300, Some(pss_bytes))));
        }
        assert_eq!(sum.fresh_bytes(), Some(300));
    }

    #[test]
    fn a_child_that_no_sweep_saw_takes_a_share() {
        let with = |bytes, rows: &[Row]| {
            let mut sums = PssSums::default();
            sums.note_unsampled(100, bytes);
            peak_with(PssReadings::default(), sums, &[(100, 200)], rows, 300)
        };
        // Half of it may have been counted for a child.
        assert_eq!(with(300, &[(100, 1, 300, Some(150))]), None);
        // The child was of somebody small, or the memory was shared with nobody.
        assert_eq!(with(2, &[(100, 1, 300, Some(150))]), Some((150, 0)));
        assert_eq!(with(300, &[(100, 1, 300, Some(290))]), Some((290, 0)));
        // Later it is not carried forward, and another reading counts.
        assert_eq!(with(300, &[(100, 1, 300, Some(150)), (200, 1, 300, None)]), None);
        assert_eq!(
            with(300, &[(100, 1, 300, Some(150)), (200, 1, 300, Some(300))]),
            Some((300, 0))
        );
    }

    #[test]
    fn what_was_not_read_near_the_peak_is_not_told() {
        let image = [(100, 300)];
        assert_eq!(peak(&image, &[(100, 1, 100, Some(90))], 100), Some((90, 0)));
        assert_eq!(peak(&image, &[(100, 1, 100, Some(90))], 105), Some((90, 0)));
        assert_eq!(peak(&image, &[(100, 1, 100, Some(90))], 106), None);
        assert_eq!(peak(&image, &[(100, 1, 100, None)], 100), None);
        // It grew after the reading.
        assert_eq!(peak(&image, &[(100, 1, 100, Some(90)), (200, 1, 300, None)], 300), None);
        assert_eq!(
            peak(&image, &[(100, 1, 100, Some(90)), (200, 1, 300, Some(280))], 300),
            Some((280, 0))
        );
    }

    #[test]
    fn a_sum_needs_all_processes_and_no_change_among_them_since() {
        let both = [(100, 300), (100, 300)];
        assert_eq!(peak(&both, &[(100, 1, 100, Some(50)), (100, 2, 100, None)], 200), None);
        let apart = [
            (100, 1, 100, Some(50)),
            (200, 1, 100, None),
            (100, 2, 100, None),
            (200, 2, 100, Some(50)),
        ];
        assert_eq!(peak(&both, &apart, 200), Some((100, 100)));
        // Another one began in between: what the first shares with it was not in its reading.
        let forked = [(100, 300), (200, 300)];
        assert_eq!(
            peak(
                &forked,
                &[(100, 1, 100, Some(100)), (200, 1, 100, None), (200, 2, 100, Some(50))],
                200
            ),
            None
        );
        // One has ended.
        let ended = [(100, 300), (100, 100)];
        let rows = [(100, 1, 100, Some(50)), (100, 2, 100, Some(50)), (200, 1, 100, None)];
        assert_eq!(peak(&ended, &rows, 200), Some((100, 0)));
        // A reading is too old.
        let old = [(100, 1, 100, Some(50)), (2200, 1, 100, None), (2200, 2, 100, Some(50))];
        assert_eq!(peak(&[(100, 2200), (100, 2200)], &old, 200), None);
    }
}
