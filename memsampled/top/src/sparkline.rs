//! The last minute in a few characters.

use memsample_input::column_block;

/// The height of a sparkline is at least this part of the largest value: noise is not to look like growth.
const MIN_RANGE: f64 = 0.1;

/// Draws points in so many characters, each of which shows the largest value of its part of the span of time; a part
/// without a point is a space. Times are in milliseconds.
///
/// Its height stands for the difference of the largest and the smallest value, and for a tenth of the largest at least;
/// what does not change is in the middle.
#[must_use]
pub fn sparkline(points: &[(i64, u64)], span: (i64, i64), width: usize, utf8: bool) -> String {
    let mut largest: Vec<Option<u64>> = vec![None; width];
    let length = (span.1 - span.0 + 1).max(1) as f64;
    for &(ms, bytes) in points {
        let part = ((ms - span.0) as f64 / length * width as f64) as usize;
        if let Some(place) = largest.get_mut(part.min(width.saturating_sub(1))) {
            *place = (*place).max(Some(bytes));
        }
    }
    let known = || largest.iter().flatten().copied();
    let (Some(low), Some(high)) = (known().min(), known().max()) else {
        return " ".repeat(width);
    };
    let (low, high) = (low as f64, high as f64);
    let range = (high - low).max(high * MIN_RANGE).max(1.0);
    let lowest = (low + high - range) / 2.0;
    let character = |bytes: u64| column_block((bytes as f64 - lowest) / range, utf8);
    largest.iter().map(|bytes| bytes.map_or(' ', character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_each_part_is_shown() {
        let points = [(0, 100), (10, 800), (19, 100), (20, 100), (59, 100)];
        assert_eq!(sparkline(&points, (0, 59), 3, true), "█▁▁");
        assert_eq!(sparkline(&points, (0, 59), 3, false), "#__");
        assert_eq!(sparkline(&[], (0, 59), 3, true), "   ");
        assert_eq!(sparkline(&points, (0, 59), 0, true), "");
    }

    #[test]
    fn noise_is_low() {
        let points = [(0, 1000), (30, 1010), (59, 1000)];
        assert_eq!(sparkline(&points, (0, 59), 3, true), "▄▅▄");
    }
}
