//! The slope of a line through points, by least squares.

/// The shortest span of samples that has a slope: every program grows when it begins.
const MIN_GROWTH_MS: i64 = 20_000;
/// The fewest samples that have one.
const MIN_SAMPLES: f64 = 240.0;

/// A line through points by least squares, computed in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slope {
    first_ms: Option<i64>,
    last_ms: i64,
    count: f64,
    mean_minutes: f64,
    mean_bytes: f64,
    /// Sums of products of deviations from the means.
    covariance: f64,
    variance: f64,
}

impl Slope {
    pub(super) fn observe(&mut self, ts_ms: i64, bytes: u64) {
        let first_ms = *self.first_ms.get_or_insert(ts_ms);
        self.last_ms = ts_ms;
        // A damaged table may hold any time.
        let since_first_ms = ts_ms.saturating_sub(first_ms);
        let (minutes, bytes) = (since_first_ms as f64 / 60_000.0, bytes as f64);
        self.count += 1.0;
        let off = minutes - self.mean_minutes;
        self.mean_minutes += off / self.count;
        self.mean_bytes += (bytes - self.mean_bytes) / self.count;
        self.covariance += off * (bytes - self.mean_bytes);
        self.variance += off * (minutes - self.mean_minutes);
    }

    pub(super) fn bytes_per_minute(self) -> Option<i64> {
        let spanned_ms = self.last_ms.saturating_sub(self.first_ms?);
        // A slope that is too large becomes the largest integer.
        (spanned_ms >= MIN_GROWTH_MS && self.count >= MIN_SAMPLES)
            .then(|| (self.covariance / self.variance).round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(points: impl IntoIterator<Item = (i64, u64)>, slope: Option<i64>) {
        let mut line = Slope::default();
        points.into_iter().for_each(|(ts_ms, bytes)| line.observe(ts_ms, bytes));
        assert_eq!(line.bytes_per_minute(), slope);
    }

    #[test]
    fn a_slope_is_that_of_the_line_through_the_points() {
        let start = 1_700_000_000_000;
        let every = |count: i64, bytes: fn(u64) -> u64| {
            (0..count).map(move |index| (start + index * 100, bytes(index.unsigned_abs())))
        };
        check([], None);
        check(every(239, |index| index << 20), None);
        check(every(241, |index| (1 << 30) + (index << 20)), Some(600 << 20));
        check(every(241, |index| (1 << 30) - (index << 20)), Some(-(600 << 20)));
        check(every(241, |_| 5), Some(0));
        // Up and down: what is even at both ends has no slope.
        check(every(241, |index| (index % 2) << 30), Some(0));
        // As many in a moment tell nothing.
        check((0..1000).map(|index| (start + index * 10, index.unsigned_abs() << 20)), None);
    }
}
