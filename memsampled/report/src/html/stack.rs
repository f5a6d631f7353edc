//! The machine as a stack of layers.

use maud::{Markup, html};
use memsample_input::rounded_size;

use super::chart::{anchor, text};
use super::colours;
use super::frame::{Frame, percent};
use super::shapes::area;
use crate::curve::{Curve, Point};
use crate::recorded::timeline::Layer;
use crate::wording::name;

/// Layers that are labelled in the picture, at most.
const MAX_LABELS: usize = 7;
/// The height that a label needs, in pixels.
const LABEL_HEIGHT: f64 = 13.0;
/// The width of a character of a label on a page of usual width, in units of the width.
const CHAR_WIDTH: i64 = 75;
/// Characters of a label.
const LABEL_CHARS: usize = 24;

/// Draws the layers in the order of painters: the highest line first, each down to the base.
pub(super) fn areas(frame: &Frame, layers: &[Layer], curve: &Curve<Box<[u64]>>) -> Markup {
    html! {
        @for index in (0..layers.len()).rev() {
            @let path = area(frame, curve.lines.iter().map(|line| line.iter().map(move |point| (point.ts_ms, up_to(point, index)))));
            @if let Some(layer) = layers.get(index) {
                path d=(path) fill=(colours::layer(index, layers.len())) stroke="currentColor" stroke-width=".7"
                    vector-effect="non-scaling-stroke" { title { (described(layer)) } }
            }
        }
    }
}

/// Writes the names of layers where they are thickest.
pub(super) fn labels(frame: &Frame, layers: &[Layer], curve: &Curve<Box<[u64]>>) -> Markup {
    // Of each label the box that it takes.
    let mut taken: Vec<(i64, i64, f64, f64)> = Vec::new();
    let mut labels: Vec<(i64, f64, String)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        if labels.len() == MAX_LABELS {
            break;
        }
        let thickness = |point: &&Point<Box<[u64]>>| point.row.get(index).copied().unwrap_or(0);
        let Some(point) = curve.points().max_by_key(thickness) else { continue };
        let (top, base) = (up_to(point, index), up_to(point, index) - thickness(&point));
        let (top, base) = (frame.pixels(top), frame.pixels(base));
        if base - top < LABEL_HEIGHT {
            continue;
        }
        let x = frame.x(point.ts_ms);
        let shown = name(&layer.name, LABEL_CHARS);
        let width = CHAR_WIDTH * i64::try_from(shown.chars().count()).unwrap_or(0);
        let left = match anchor(x) {
            "start" => x,
            "end" => x - width,
            _ => x - width / 2,
        };
        let y = (top + base) / 2.0 + 4.0;
        let place = (left, left + width, y - LABEL_HEIGHT, y);
        let meets = |other: &(i64, i64, f64, f64)| {
            place.0 < other.1 && other.0 < place.1 && place.2 < other.3 && other.2 < place.3
        };
        if !taken.iter().any(meets) {
            taken.push(place);
            labels.push((x, y, shown));
        }
    }
    html! { @for (x, y, label) in labels { (text(&percent(x), y, anchor(x), &label)) } }
}

/// Returns the sum of the layers up to one.
fn up_to(point: &Point<Box<[u64]>>, index: usize) -> u64 {
    point.row.iter().take(index + 1).fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

fn described(layer: &Layer) -> String {
    let peak =
        layer.peak.map_or(String::new(), |peak| format!(": peak {}", rounded_size(peak.bytes)));
    format!("{}{peak}", name(&layer.name, 100))
}
