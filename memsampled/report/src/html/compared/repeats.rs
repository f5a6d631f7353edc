//! The peaks of all repeats of both sides as dots on one line each, and the interval of the change.

use maud::{Markup, html};
use memsample_compare::Number;
use memsample_compare::report::wording::{change, interval};
use memsample_input::rounded_size;

use super::super::axis;
use super::super::chart::{anchor, round_size, text};
use super::super::colours;
use super::super::frame::Frame;
use crate::side_by_side::ComparedQuantity;

/// Dots of a side, at most.
const MAX_DOTS: usize = 200;
/// The height of a line of dots with the text above it, in pixels.
const ROW: i64 = 40;
/// The height of all lines, and of the texts of the axis below.
const PLOT: i64 = 3 * ROW;
const AXIS: i64 = 22;

/// Draws the repeats of what was compared.
pub(super) fn repeats(it: &ComparedQuantity) -> Markup {
    let compared = &it.compared;
    let change_of = |percent: f64| compared.base_bytes as f64 * (1.0 + percent / 100.0);
    // Two numbers are too few for an interval.
    let ends = (interval(compared) != "-").then(|| {
        let ends = [compared.change_percent_lower, compared.change_percent_upper];
        ends.map(|percent| change_of(percent).max(0.0) as u64)
    });
    let values = || it.base.iter().chain(&it.head).map(|number| number.bytes.lower);
    let all = || values().chain(ends.into_iter().flatten());
    let (Some(least), Some(most)) = (all().min(), all().max()) else { return html! {} };
    // Equal numbers stand in the middle.
    let rim = ((most - least) / 12).max(most / 100).max(1);
    let (left, right) = (least.saturating_sub(rim), most.saturating_add(rim));
    let place = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let frame = Frame::new(place(left), place(right), 1, PLOT);
    let x = |bytes: u64| frame.percent(place(bytes));
    let label = format!(
        "The peaks of all repeats: of the base {} with a median of {}, of the head {} with a median of {}; the change is {}, \
         its interval {}. The table below has the numbers.",
        it.base.len(),
        rounded_size(compared.base_bytes),
        it.head.len(),
        rounded_size(compared.head_bytes),
        change(compared),
        interval(compared)
    );
    let sides = [
        ("base", &it.base, compared.base_bytes, colours::PART),
        ("head", &it.head, compared.head_bytes, colours::ALARM),
    ];
    html! {
        svg role="img" aria-label=(label) width="100%" height=(PLOT + AXIS) font-family="sans-serif" font-size="12" fill="currentColor" {
            @for (row, (name, numbers, median, colour)) in sides.into_iter().enumerate() {
                @let y = i64::try_from(row).unwrap_or(0) * ROW;
                (text("2", (y + 12) as f64, "start", &format!("{name}: median {}", rounded_size(median))))
                line x1=(x(median)) x2=(x(median)) y1=(y + 17) y2=(y + 37) stroke="currentColor" stroke-width="2" {}
                @for (index, number) in numbers.iter().enumerate().take(MAX_DOTS) {
                    (dot(&frame, number, y + 22 + i64::try_from(index % 3).unwrap_or(0) * 5, colour, name))
                }
            }
            @let y = 2 * ROW;
            @if let Some([lower, upper]) = ends {
                (text("2", (y + 12) as f64, "start", &format!("change {} ({})", change(compared), interval(compared))))
                line x1=(x(lower)) x2=(x(upper)) y1=(y + 26) y2=(y + 26) stroke="currentColor" stroke-width="3" {}
                @for end in [lower, upper, change_of(compared.change_percent).max(0.0) as u64] {
                    line x1=(x(end)) x2=(x(end)) y1=(y + 20) y2=(y + 32) stroke="currentColor" stroke-width="2" {}
                }
            } @else {
                (text("2", (y + 12) as f64, "start", "change: too few repeats for an interval"))
            }
            line x1="0" x2="100%" y1=(PLOT) y2=(PLOT) stroke="currentColor" {}
            @for value in axis::sizes_between(left, right) {
                line x1=(x(value)) x2=(x(value)) y1="0" y2=(PLOT + 4) stroke="currentColor" stroke-opacity=".25" {}
                text x=(x(value)) y=(PLOT + 18) text-anchor=(anchor(frame.x(place(value)))) { (round_size(value)) }
            }
        }
        @let hidden: usize = sides.iter().map(|(_, numbers, ..)| numbers.len().saturating_sub(MAX_DOTS)).sum();
        @if hidden > 0 { p { "… and " (hidden) " more repeats, which are not drawn." } }
    }
}

fn dot(frame: &Frame, number: &Number, y: i64, colour: &str, side: &str) -> Markup {
    let x = |bytes: u64| frame.percent(i64::try_from(bytes).unwrap_or(i64::MAX));
    let lower = number.bytes.lower;
    let upper = number.bytes.upper;
    let bounds = match upper {
        Some(upper) => format!("{lower} to {upper} bytes"),
        None => format!("at least {lower} bytes: no upper bound is known"),
    };
    html! {
        g {
            title { (side) ": " (bounds) }
            @if let Some(upper) = upper.filter(|upper| *upper > lower) {
                line x1=(x(lower)) x2=(x(upper)) y1=(y) y2=(y) stroke="currentColor" stroke-opacity=".5" {}
            }
            circle cx=(x(lower)) cy=(y) r="4" fill=(colour) stroke="currentColor" {}
        }
    }
}
