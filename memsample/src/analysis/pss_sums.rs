//! The proportional sets of a test: which readings hold at a tick, and of how much of its memory they tell.

use std::collections::HashMap;
use std::io;

use jiff::Timestamp;

use super::bound::Bound;
use super::test_usage::PssPeak;

/// Of the resident memory at a tick as many parts of a hundred must have been read, and the resident memory then must
/// be as many parts of that at the peak. It is the error of a PSS that is told, too.
const MIN_COVERED_PERCENT: u64 = 95;
/// A reading holds no longer: what processes share may change while their resident sets do not.
const MAX_AGE_MS: i64 = 2000;

/// The last reading of each process image.
#[derive(Default)]
pub(super) struct PssReadings(HashMap<u64, PssReading>);

#[derive(Clone, Copy)]
struct PssReading {
    ts_ms: i64,
    pss_bytes: u64,
    rss_bytes: u64,
}

/// The sums of a test at one tick, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct PssSum {
    pss_bytes: u64,
    /// Of those that were read at this tick; `None` where none was.
    pub(super) fresh_bytes: Option<u64>,
    rss_bytes: u64,
    covered_bytes: u64,
    age_ms: i64,
}

/// The sums of a test at all ticks.
#[derive(Default)]
pub(super) struct PssSums {
    /// The ticks between which an image began or ended, so that what the others share changed. Sorted before use.
    changes_ms: Vec<i64>,
    is_sorted: bool,
    /// The largest sum that is known, and its tick.
    largest: Option<(PssSum, i64)>,
    /// The largest sum of resident sets that was read.
    read_rss_bytes: u64,
}

impl PssReadings {
    /// Adds a row of an image to the sums of its test at that tick. The rows of an image come in the order of time.
    pub(super) fn add(
        &mut self,
        sum: &mut PssSum,
        test: &mut PssSums,
        process: u64,
        ts_ms: i64,
        (rss_bytes, pss_bytes): (u64, Option<u64>),
    ) {
        sum.rss_bytes = sum.rss_bytes.saturating_add(rss_bytes);
        if let Some(pss_bytes) = pss_bytes {
            self.0.insert(process, PssReading { ts_ms, pss_bytes, rss_bytes });
            sum.fresh_bytes = Some(sum.fresh_bytes.unwrap_or(0).saturating_add(pss_bytes));
        }
        let Some(&reading) = self.0.get(&process) else { return };
        let age_ms = ts_ms.saturating_sub(reading.ts_ms);
        if age_ms > MAX_AGE_MS || test.changed_between(reading.ts_ms, ts_ms) {
            return;
        }
        // What has come since is not in the reading, and what has gone is in it.
        let changed = rss_bytes.abs_diff(reading.rss_bytes);
        sum.covered_bytes = sum.covered_bytes.saturating_add(rss_bytes.saturating_sub(changed));
        sum.pss_bytes =
            sum.pss_bytes.saturating_add(reading.pss_bytes.min(rss_bytes.max(reading.rss_bytes)));
        sum.age_ms = sum.age_ms.max(age_ms);
    }
}

impl PssSums {
    /// Notes the first and the last sample of an image.
    pub(super) fn note_image(&mut self, first_ms: i64, last_ms: i64) {
        self.changes_ms.extend([first_ms, last_ms.saturating_add(1)]);
        self.is_sorted = false;
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
        if !is_nearly(sum.covered_bytes, sum.rss_bytes) {
            return;
        }
        self.read_rss_bytes = self.read_rss_bytes.max(sum.rss_bytes);
        if self.largest.is_none_or(|(largest, _)| sum.pss_bytes > largest.pss_bytes) {
            self.largest = Some((sum, ts_ms));
        }
    }

    /// Returns the largest sum of resident sets of which nearly all was read.
    pub(super) fn read_rss_bytes(&self) -> u64 {
        self.read_rss_bytes
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
        Ok(Some(PssPeak {
            bytes: sum.pss_bytes,
            upper: upper.map(|upper| Bound { bytes: upper.bytes.max(sum.pss_bytes), ..upper }),
            at: Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)?,
            rss_bytes: sum.rss_bytes,
            covered_bytes: sum.covered_bytes,
            age_ms: sum.age_ms.unsigned_abs(),
        }))
    }
}

fn is_nearly(bytes: u64, whole_bytes: u64) -> bool {
    whole_bytes > 0
        && u128::from(bytes) * 100 >= u128::from(whole_bytes) * u128::from(MIN_COVERED_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds rows of (tick, process, RSS, PSS) and returns the peak and its age, where the resident sets had that peak.
    fn peak(
        images: &[(i64, i64)],
        rows: &[(i64, u64, u64, Option<u64>)],
        rss_peak_bytes: u64,
    ) -> Option<(u64, u64)> {
        let mut sums = PssSums::default();
        images.iter().for_each(|&(first_ms, last_ms)| sums.note_image(first_ms, last_ms));
        let mut readings = PssReadings::default();
        let mut ticks = std::collections::BTreeMap::<i64, PssSum>::new();
        for &(ts_ms, process, rss, pss) in rows {
            let sum = ticks.entry(ts_ms).or_default();
            readings.add(sum, &mut sums, process, ts_ms, (rss, pss));
        }
        ticks.into_iter().for_each(|(ts_ms, sum)| sums.observe(sum, ts_ms));
        sums.peak(rss_peak_bytes, None).unwrap().map(|peak| (peak.bytes, peak.age_ms))
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
