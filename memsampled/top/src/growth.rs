//! How fast memory grew.

/// The shortest time of which a growth is told, in milliseconds.
const MIN_MS: i64 = 10_000;

/// Returns the slope of a series by least squares, in bytes per minute; `None` where it is shorter than ten seconds.
///
/// A point is a time in milliseconds and a size in bytes.
#[must_use]
pub fn growth_per_minute(points: &[(i64, u64)]) -> Option<i64> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    if last - first < MIN_MS {
        return None;
    }
    let count = points.len() as f64;
    let minutes = |ms: i64| (ms - first) as f64 / 60_000.0;
    let mean_time = points.iter().map(|point| minutes(point.0)).sum::<f64>() / count;
    let mean_size = points.iter().map(|point| point.1 as f64).sum::<f64>() / count;
    let (mut products, mut squares) = (0.0, 0.0);
    for &(ms, bytes) in points {
        let distance = minutes(ms) - mean_time;
        products += distance * (bytes as f64 - mean_size);
        squares += distance * distance;
    }
    Some((products / squares).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let points: Vec<(i64, u64)> =
            (0u64..60).map(|second| ((second as i64) * 1000, 1000 + second * 100)).collect();
        assert_eq!(growth_per_minute(&points), Some(6000));
        assert_eq!(growth_per_minute(&points[..10]), None);
        assert_eq!(growth_per_minute(&[]), None);
    }
}
