//! Shapes as the data of SVG paths, in relative whole numbers, which are shortest.

use std::fmt::Write as _;

use super::frame::Frame;

/// Half the width of what has a single point, in units of the width: narrower it would not be seen.
const HALF_POINT: i64 = 8;

/// Returns the area below lines of points, of which each is a time and a value.
pub(super) fn area<L, P>(frame: &Frame, lines: L) -> String
where
    L: IntoIterator<Item = P>,
    P: IntoIterator<Item = (i64, u64)>,
{
    let mut path = String::new();
    for line in lines {
        let points = placed(frame, line);
        let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
            continue;
        };
        let base = frame.units();
        // Writing to a string cannot fail.
        let _ = write!(path, "M{first} {base}");
        steps(&mut path, (first, base), &points);
        let _ = write!(path, "L{last} {base}Z");
    }
    path
}

/// Returns lines through points, of which each is a time and a value.
pub(super) fn line<L, P>(frame: &Frame, lines: L) -> String
where
    L: IntoIterator<Item = P>,
    P: IntoIterator<Item = (i64, u64)>,
{
    let mut path = String::new();
    for line in lines {
        let points = placed(frame, line);
        let Some((&(x, y), rest)) = points.split_first() else { continue };
        let _ = write!(path, "M{x} {y}");
        steps(&mut path, (x, y), rest);
    }
    path
}

/// Returns where points are. A single one is widened.
fn placed(frame: &Frame, line: impl IntoIterator<Item = (i64, u64)>) -> Vec<(i64, i64)> {
    let mut points: Vec<(i64, i64)> = Vec::new();
    for (ts_ms, value) in line {
        let point = (frame.x(ts_ms), frame.y(value));
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    if let [(x, y)] = *points {
        points = vec![(x - HALF_POINT, y), (x + HALF_POINT, y)];
    }
    points
}

/// Adds steps from point to point. A number that is negative needs no space before it.
fn steps(path: &mut String, mut from: (i64, i64), points: &[(i64, i64)]) {
    if points.is_empty() {
        return;
    }
    path.push('l');
    let mut is_first = true;
    for &(x, y) in points {
        for step in [x - from.0, y - from.1] {
            if !is_first && step >= 0 {
                path.push(' ');
            }
            is_first = false;
            let _ = write!(path, "{step}");
        }
        from = (x, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_stand_on_the_base_and_gaps_stay_gaps() {
        let frame = Frame::new(0, 100, 10, 10);
        let lines = [vec![(0, 5), (50, 10), (50, 10), (100, 0)], vec![(40, 5)], vec![]];
        assert_eq!(
            area(&frame, lines.clone()),
            "M0 100l0-50 5000-50 5000 100L10000 100ZM3992 100l0-50 16 0L4008 100Z"
        );
        assert_eq!(line(&frame, lines), "M0 50l5000-50 5000 100M3992 50l16 0");
    }
}
