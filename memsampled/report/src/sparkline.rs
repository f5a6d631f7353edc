//! A curve as a line of characters.

use memsample_input::column_block;

use crate::curve::Curve;

/// Returns a curve as `columns` characters: of each span of time its largest value, as a part of `top`. A span without
/// a point is blank where it is part of a gap, and else as the one before.
pub(crate) fn sparkline<R: Clone>(
    curve: &Curve<R>,
    (begin_ms, end_ms): (i64, i64),
    top: u64,
    columns: usize,
    is_ascii: bool,
) -> String {
    let largest = curve.largest_by_column(begin_ms, end_ms, columns);
    let column_ms = (end_ms - begin_ms).max(1) as f64 / columns.max(1) as f64;
    let is_within = |column: usize| {
        let at_ms = begin_ms + (column as f64 * column_ms) as i64;
        let covers = |line: &Vec<crate::curve::Point<R>>| {
            let (first, last) = (line.first(), line.last());
            first.is_some_and(|it| it.ts_ms <= at_ms) && last.is_some_and(|it| it.ts_ms >= at_ms)
        };
        curve.lines.iter().any(covers)
    };
    let mut before = None;
    let character = |(column, value): (usize, Option<u64>)| {
        let value = value.or_else(|| before.filter(|_| is_within(column)));
        before = value;
        value.map_or(' ', |value| {
            let eighth = u128::from(value.min(top)) * 8 / (u128::from(top) + 1);
            column_block(eighth as f64 / 7.0, !is_ascii)
        })
    };
    largest.into_iter().enumerate().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Point;

    #[test]
    fn a_gap_is_blank_and_a_peak_is_full() {
        let point = |ts_ms, value| Point { ts_ms, value, row: () };
        let curve = Curve {
            lines: vec![vec![point(0, 0), point(30, 50)], vec![point(70, 100), point(80, 0)]],
        };
        assert_eq!(sparkline(&curve, (0, 80), 100, 8, false), "▁▁▁▄   █");
        assert_eq!(sparkline(&curve, (0, 80), 99, 8, true), "___=   #");
        assert_eq!(sparkline(&Curve::<()> { lines: Vec::new() }, (0, 0), 0, 3, true), "   ");
    }
}
