//! Whether memory still rose at the end of a recording.

/// The length of the end of a series: what happened within it happened at the end.
const END_MS: i64 = 1000;
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
    /// `None` for fewer than two values.
    pub(super) fn rising(&self) -> Option<bool> {
        let Series { first_ms, risen, risen_ms, last, last_ms } = self.series?;
        let recent = last_ms.saturating_sub(risen_ms) <= END_MS && risen_ms > first_ms;
        (last_ms > first_ms).then_some(recent && last.saturating_add(step(risen)) >= risen)
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
        check(&[(0, 10), (100, 10)], Some(false));
        check(&[(0, 10), (100, 20)], Some(true));
        check(&[(0, 10), (100, 20), (1100, 20)], Some(true));
        check(&[(0, 10), (100, 20), (1101, 20)], Some(false));
        // It fell, or it had been there before.
        check(&[(0, 10), (100, 20), (200, 10)], Some(false));
        check(&[(0, 20), (5000, 10), (5100, 20)], Some(false));
    }
}
