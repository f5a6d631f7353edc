//! The machine as a stack of layers.

use maud::{Markup, html};
use memsample_input::rounded_size;

use super::chart::text;
use super::colours;
use super::frame::{Frame, WIDTH, percent};
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

/// Writes the names of layers where each is thickest over the width of its name.
pub(super) fn labels(frame: &Frame, layers: &[Layer], curve: &Curve<Box<[u64]>>) -> Markup {
    let columns = Columns::new(frame, layers.len(), curve);
    let mut labels: Vec<(i64, f64, String)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        if labels.len() == MAX_LABELS {
            break;
        }
        let shown = name(&layer.name, LABEL_CHARS);
        let width = CHAR_WIDTH * i64::try_from(shown.chars().count()).unwrap_or(0);
        if let Some((x, y)) = columns.room(index, width) {
            labels.push((x, y, shown));
        }
    }
    html! { @for (x, y, label) in labels { (text(&percent(x), y, "middle", &label)) } }
}

/// The layers in columns of equal width.
struct Columns {
    /// Of each layer: in each column the lowest place of its upper edge and the highest of its lower one, in pixels
    /// below the upper edge of the frame; `None` in a gap.
    edges: Vec<Vec<Option<(f64, f64)>>>,
}

/// The width of a column, in units of the width.
const COLUMN: i64 = 100;

impl Columns {
    fn new(frame: &Frame, layers: usize, curve: &Curve<Box<[u64]>>) -> Self {
        let count = usize::try_from(WIDTH / COLUMN).unwrap_or(0);
        let mut edges = vec![vec![None::<(f64, f64)>; count]; layers];
        for line in &curve.lines {
            let column = |point: &Point<Box<[u64]>>| {
                usize::try_from(frame.x(point.ts_ms) / COLUMN)
                    .unwrap_or(0)
                    .min(count.saturating_sub(1))
            };
            for (index, edges) in edges.iter_mut().enumerate() {
                let of = |point: &Point<Box<[u64]>>| {
                    let (top, own) =
                        (up_to(point, index), point.row.get(index).copied().unwrap_or(0));
                    (frame.pixels(top), frame.pixels(top.saturating_sub(own)))
                };
                let mut before: Option<&Point<Box<[u64]>>> = None;
                for point in line {
                    let (top, base) = of(point);
                    let first = before.map_or(column(point), column);
                    let (first_top, first_base) = before.map_or((top, base), of);
                    // Between two points an edge is between the two.
                    let (top, base) = (top.max(first_top), base.min(first_base));
                    for edge in edges.iter_mut().take(column(point) + 1).skip(first) {
                        *edge =
                            Some(edge.map_or((top, base), |it| (it.0.max(top), it.1.min(base))));
                    }
                    before = Some(point);
                }
            }
        }
        Self { edges }
    }

    /// Returns where a label of some width fits into a layer, in units of the width and in pixels.
    fn room(&self, layer: usize, width: i64) -> Option<(i64, f64)> {
        let edges = self.edges.get(layer)?;
        let needed = usize::try_from(width / COLUMN + 1).ok()?;
        let thickness = |window: &[Option<(f64, f64)>]| {
            window.iter().copied().try_fold((f64::MIN, f64::MAX), |(top, base), edge| {
                let (edge_top, edge_base) = edge?;
                Some((top.max(edge_top), base.min(edge_base)))
            })
        };
        let windows = edges.windows(needed).enumerate();
        let rooms = windows.filter_map(|(first, window)| {
            let (top, base) = thickness(window)?;
            Some((base - top, first, (top + base) / 2.0))
        });
        let (room, first, middle) = rooms.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let x = i64::try_from(first).ok()? * COLUMN + i64::try_from(needed).ok()? * COLUMN / 2;
        (room >= LABEL_HEIGHT).then_some((x, middle + 4.0))
    }
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
