//! How fast memory grew.

/// The shortest time of which a growth is told, in milliseconds.
const MIN_MS: i64 = 10_000;

/// The slope of a series by least squares, point by point: thousands of series are looked at on each drawing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Growth {
    /// The first point, from which the others are counted so that the sums stay small.
    first: Option<(i64, u64)>,
    last_ms: i64,
    count: f64,
    minutes: f64,
    bytes: f64,
    squares: f64,
    products: f64,
}

impl Growth {
    /// Adds a point: a time in milliseconds, which is not before the others, and a size in bytes.
    pub fn add(&mut self, ms: i64, bytes: u64) {
        let (first_ms, first_bytes) = *self.first.get_or_insert((ms, bytes));
        self.last_ms = ms;
        let minutes = (ms - first_ms) as f64 / 60_000.0;
        let bytes = bytes as f64 - first_bytes as f64;
        self.count += 1.0;
        self.minutes += minutes;
        self.bytes += bytes;
        self.squares += minutes * minutes;
        self.products += minutes * bytes;
    }

    /// Returns the slope in bytes per minute; `None` where the series is shorter than ten seconds.
    #[must_use]
    pub fn per_minute(&self) -> Option<i64> {
        if self.last_ms - self.first?.0 < MIN_MS {
            return None;
        }
        let products = self.count * self.products - self.minutes * self.bytes;
        let squares = self.count * self.squares - self.minutes * self.minutes;
        Some((products / squares).round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(points: &[(i64, u64)]) -> Option<i64> {
        let mut growth = Growth::default();
        points.iter().for_each(|&(ms, bytes)| growth.add(ms, bytes));
        growth.per_minute()
    }

    #[test]
    fn a_line_has_its_slope() {
        let line = |base: u64| -> Vec<(i64, u64)> {
            (0u64..60).map(|second| ((second as i64) * 1000, base + second * 100)).collect()
        };
        // However large what does not grow is, and whenever it was.
        for base in [1000, 1 << 42] {
            let points = line(base);
            let later: Vec<(i64, u64)> =
                points.iter().map(|&(ms, bytes)| (ms + 1_800_000_000_000, bytes)).collect();
            assert_eq!((of(&points), of(&later)), (Some(6000), Some(6000)));
            assert_eq!(of(&points[..10]), None);
        }
        assert_eq!(of(&[]), None);
    }
}
