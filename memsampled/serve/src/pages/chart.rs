//! The picture of a history: medians of releases, with what is between the smallest and the largest repeat.

use std::fmt::Write as _;

use maud::{Markup, html};
use memsample_compare::trend::TrendPoint;
use memsample_input::rounded_size;

/// Units of the width.
const WIDTH: usize = 1000;
/// Units of the height.
const HEIGHT: u64 = 240;
/// Room above the largest value.
const MARGIN: f64 = 1.08;

/// Draws a point for each release, and a line where something changed.
pub(super) fn chart(points: &[Option<TrendPoint>], changes: &[u64], label: &str) -> Markup {
    let top = points.iter().flatten().map(|point| point.largest_bytes).max().unwrap_or(0);
    let top = (top as f64 * MARGIN).max(1.0);
    let steps = points.len().saturating_sub(1).max(1);
    let x = |index: usize| index * WIDTH / steps;
    let y = |bytes: u64| HEIGHT as f64 - (bytes as f64 / top * HEIGHT as f64);
    let (mut median, mut ranges) = (String::new(), String::new());
    let mut is_open = false;
    for (index, point) in points.iter().enumerate() {
        let Some(point) = point else {
            // What was not measured is a gap.
            is_open = false;
            continue;
        };
        let command = if is_open { 'L' } else { 'M' };
        is_open = true;
        // Writing into a string cannot fail.
        let _ = write!(median, "{command}{} {:.1} ", x(index), y(point.bytes));
        // A point by itself would be a line of no length.
        let _ = write!(median, "h0.1 ");
        let _ = write!(
            ranges,
            "M{0} {1:.1} L{0} {2:.1} ",
            x(index),
            y(point.smallest_bytes),
            y(point.largest_bytes)
        );
    }
    html! {
        svg .chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
            line .axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
            line .axis x1="0" x2=(WIDTH) y1=(HEIGHT / 2) y2=(HEIGHT / 2) {}
            path .range d=(ranges) {}
            @for change in changes {
                @let at = x(usize::try_from(*change).unwrap_or(0));
                line .change x1=(at) x2=(at) y1="0" y2=(HEIGHT) {}
            }
            path .median d=(median) {}
        }
        p { "From 0 below to " (rounded_size(top as u64)) " above; the line in the middle is half of it. Dashed: where it changed." }
    }
}
