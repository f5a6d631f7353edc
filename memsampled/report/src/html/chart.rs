//! A picture with axes: lines at round values, times below, and what is drawn between.

use maud::{Markup, html};

use super::axis;
use super::frame::{Frame, WIDTH};
use crate::wording::{percent, since};

/// The height below a plot that the times take, in pixels.
const TIMES_HEIGHT: i64 = 20;

/// What the values of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Bytes,
    /// 1/10000.
    Share,
}

/// A picture.
pub(super) struct Chart<'a> {
    pub(super) frame: Frame,
    pub(super) unit: Unit,
    /// What it shows, for those who do not see it.
    pub(super) label: &'a str,
    /// The names of the picture for scripts.
    pub(super) id: &'a str,
    /// What is stretched to the width: areas and lines.
    pub(super) plot: Markup,
    /// What is not: texts, marks.
    pub(super) over: Markup,
    /// Room above the plot, in pixels, and what is in it.
    pub(super) above: (i64, Markup),
}

impl Chart<'_> {
    pub(super) fn draw(&self) -> Markup {
        let Self { frame, .. } = self;
        let height = frame.height;
        let (above, heading) = &self.above;
        let whole = above + height + TIMES_HEIGHT;
        let values = match self.unit {
            Unit::Bytes => axis::sizes(frame.top),
            Unit::Share => axis::shares(frame.top),
        };
        let times = axis::times(frame.end_ms - frame.begin_ms);
        html! {
            svg id=(self.id) role="img" aria-label=(self.label) width="100%" height=(whole)
                font-family="sans-serif" font-size="12" fill="currentColor" {
                (heading)
                svg y=(above) width="100%" height=(height + TIMES_HEIGHT) overflow="visible" {
                    svg viewBox={ "0 0 " (WIDTH) " " (frame.units()) } preserveAspectRatio="none"
                        width="100%" height=(height) { (self.plot) }
                    @for value in values {
                        @let y = frame.pixels(value);
                        line x1="0" x2="100%" y1=(y) y2=(y) stroke="currentColor" stroke-opacity=".25" {}
                        @if y > 12.0 { (text("2", y - 3.0, "start", &self.value(value))) }
                    }
                    line x1="0" x2="100%" y1=(height) y2=(height) stroke="currentColor" {}
                    @for time in times {
                        @let x = frame.percent(frame.begin_ms + time);
                        line x1=(x) x2=(x) y1=(height) y2=(height + 4) stroke="currentColor" {}
                        text x=(x) y=(height + 16) text-anchor=(anchor(frame.x(frame.begin_ms + time))) { (since(time)) }
                    }
                    (self.over)
                }
            }
        }
    }

    fn value(&self, value: u64) -> String {
        match self.unit {
            Unit::Bytes => round_size(value),
            Unit::Share => percent(value),
        }
    }
}

/// Formats a round size, such as 1.25 GiB, with as many digits as it has.
pub(super) fn round_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let hundredths = (number * 100.0).round() / 100.0;
    format!("{hundredths} {}", UNITS.get(unit).unwrap_or(&""))
}

/// Writes a text that can be read on any colour: with a rim in the colour of the page.
pub(super) fn text(x: &str, y: f64, anchor: &str, text: &str) -> Markup {
    html! {
        text x=(x) y=(format!("{y:.1}")) text-anchor=(anchor) stroke="Canvas" stroke-width="3"
            stroke-linejoin="round" paint-order="stroke" { (text) }
    }
}

/// Returns on which side of `x` a text stands, so that it is within the picture.
pub(super) fn anchor(x: i64) -> &'static str {
    match x {
        ..=1500 => "start",
        8500.. => "end",
        _ => "middle",
    }
}

#[cfg(test)]
mod tests {
    use super::round_size;

    #[test]
    fn a_round_size_is_not_rounded() {
        let sizes = [0, 512 << 20, 1 << 30, 1280 << 20, 20 << 10].map(round_size);
        assert_eq!(sizes, ["0 B", "512 MiB", "1 GiB", "1.25 GiB", "20 KiB"]);
    }
}
