//! Whether memory still rose at the end of a recording.

/// The length of the end of a series: what happened within it happened at the end.
const END_MS: i64 = 1000;
/// The shortest series of which it is told whether it still rose: every program rises when it begins.
const MIN_SERIES_MS: i64 = 10 * END_MS;
/// The smallest step that counts as growth: this fraction of the value before, and this many bytes.
const STEP_PART: u64 = 100;
const STEP_BYTES: u64 = 64 * 1024;

/// Whether a series of sizes in the order of time still rose when it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    series: Option<Series>,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    first_ms: i64,
    /// The last value that was higher than all before it by a step.
    risen: u64,
    risen_ms: i64,
    last: u64,
    last_ms: i64,
}

impl Growth {
    pub(super) fn observe(&mut self, ts_ms: i64, bytes: u64) {
        let first =
            Series { first_ms: ts_ms, risen: bytes, risen_ms: ts_ms, last: bytes, last_ms: ts_ms };
        let series = self.series.get_or_insert(first);
        if bytes > series.risen.saturating_add(step(series.risen)) {
            (series.risen, series.risen_ms) = (bytes, ts_ms);
        }
        (series.last, series.last_ms) = (bytes, ts_ms);
    }

    /// Returns whether the series reached a new maximum within its last second and was still there at its end;
    /// `None` for a series that is too short to tell.
    pub(super) fn rising(&self) -> Option<bool> {
        let Series { risen, risen_ms, last, last_ms, .. } = self.series?;
        let recent = last_ms.saturating_sub(risen_ms) <= END_MS;
        self.tells().then_some(recent && last.saturating_add(step(risen)) >= risen)
    }

    /// Returns whether the series is long enough to tell.
    pub(super) fn tells(&self) -> bool {
        self.series
            .is_some_and(|series| series.last_ms.saturating_sub(series.first_ms) >= MIN_SERIES_MS)
    }
}

/// Returns the smallest step from `bytes` that counts as growth.
pub(super) fn step(bytes: u64) -> u64 {
    (bytes / STEP_PART).max(STEP_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(series: &[(i64, u64)], rising: Option<bool>) {
        let mut growth = Growth::default();
        series.iter().for_each(|&(ts_ms, mib)| growth.observe(ts_ms, mib << 20));
        assert_eq!(growth.rising(), rising, "{series:?}");
    }

    #[test]
    fn what_rose_in_the_last_second_and_stayed_was_rising() {
        check(&[], None);
        check(&[(0, 10)], None);
        check(&[(0, 10), (10_000, 10)], Some(false));
        check(&[(0, 10), (10_000, 20)], Some(true));
        check(&[(0, 10), (9500, 20), (10_500, 20)], Some(true));
        check(&[(0, 10), (9500, 20), (10_501, 20)], Some(false));
        // It fell, or it had been there before.
        check(&[(0, 10), (9900, 20), (10_000, 10)], Some(false));
        check(&[(0, 20), (9900, 10), (10_000, 20)], Some(false));
    }

    #[test]
    fn what_is_short_does_not_tell() {
        check(&[(0, 10), (100, 20), (200, 20)], None);
        check(&[(0, 10), (9999, 20)], None);
    }
}
