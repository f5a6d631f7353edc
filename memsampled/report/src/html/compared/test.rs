//! A test on both sides: its memory over time, its repeats, and the numbers of each.

use maud::{Markup, html};
use memsample_compare::report::wording::{change, interval};
use memsample_compare::{Number, Quantity};
use memsample_input::rounded_size;
use memsample_runner::results::wording::attempt_label;

use super::super::chart::{Chart, Unit};
use super::super::colours;
use super::super::frame::Frame;
use super::super::interactive::{Interactive, InteractiveLayer, Kind, Over, Table};
use super::super::machine::swatch;
use super::super::numbers::bounded;
use super::super::shapes::{area, line};
use super::repeats::repeats;
use super::table::{badge, what};
use crate::curve::Curve;
use crate::side_by_side::{ComparedQuantity, ComparedTest, MedianAttempt};
use crate::wording::{name, since};

/// The height of a picture, in pixels.
const HEIGHT: i64 = 180;
/// Spans of time of which points are drawn: of one test at least and at most, and of all of them together.
const BUCKETS: (usize, usize) = (16, 200);
const ALL_BUCKETS: usize = 20_000;
/// Spans of time of which scripts have points, of all tests together.
const ALL_ZOOM_BUCKETS: usize = 10_000;
/// Repeats that are listed of a side.
const MAX_REPEATS: usize = 100;

/// The place of a test in the page.
pub(super) struct Place<'a> {
    /// Its position among the tests.
    pub(super) index: usize,
    /// How many are shown.
    pub(super) tests: usize,
    /// What it is called.
    pub(super) label: &'a str,
    /// The id of its place, and the link to it.
    pub(super) id: &'a str,
    pub(super) link: &'a str,
    /// The names of the runs of both sides.
    pub(super) runs: [&'a [String]; 2],
}

/// Shows a test.
pub(super) fn test(test: &ComparedTest, place: &Place<'_>) -> Markup {
    html! {
        details data-test=(name(place.label, 400)) {
            summary {
                b { (name(place.label, 80)) }
                @if let Some(it) = test.whole() {
                    " " (badge(it.compared.verdict)) ", " (what(&it.compared)) " "
                    (rounded_size(it.compared.base_bytes)) " → " (rounded_size(it.compared.head_bytes))
                }
            }
            div id=(place.id) {
                h3 { a href=(place.link) { (name(place.label, 1000)) } }
                (picture(test, place))
                @for it in &test.quantities {
                    h4 { (what(&it.compared)) ": " (badge(it.compared.verdict)) ", " (change(&it.compared)) ", interval " (interval(&it.compared)) }
                    (repeats(it))
                    (numbers(it, place))
                }
            }
        }
    }
}

/// The curves of both sides, with times since the begin of each attempt.
fn curves(test: &ComparedTest, buckets: usize) -> [Option<Curve<()>>; 2] {
    [&test.base, &test.head].map(|side| {
        let MedianAttempt { curve, .. } = side.as_ref()?;
        let of = if test.drawn() == Quantity::AnonPeak { &curve.anon } else { &curve.rss };
        let thinned = of.thinned(curve.begin_ms, curve.end_ms, buckets).since(curve.begin_ms);
        (!thinned.lines.is_empty()).then_some(thinned)
    })
}

/// Draws the memory of the median attempts of both sides over time.
fn picture(test: &ComparedTest, place: &Place<'_>) -> Markup {
    let buckets = (ALL_BUCKETS / place.tests.max(1)).clamp(BUCKETS.0, BUCKETS.1);
    let [base, head] = curves(test, buckets);
    let span = |side: &Option<MedianAttempt>| {
        side.as_ref().map_or(0, |it| it.curve.end_ms - it.curve.begin_ms)
    };
    let peak = |curve: &Option<Curve<()>>| {
        curve.as_ref().and_then(|curve| curve.peak()).map_or(0, |point| point.value)
    };
    let (base_peak, head_peak) = (peak(&base), peak(&head));
    let top = base_peak.max(head_peak);
    let missing = match (&base, &head) {
        (None, None) => Some("neither side"),
        (None, _) => Some("the base"),
        (_, None) => Some("the head"),
        _ => None,
    };
    let drawn =
        if test.drawn() == Quantity::AnonPeak { "anonymous memory" } else { "resident sets" };
    let end_ms = span(&test.base).max(span(&test.head));
    let frame = Frame::new(0, end_ms, top.saturating_add(top / 8), HEIGHT);
    let label = format!(
        "Sum of {drawn} over time, of the attempt with the median of each side: the largest sum of samples is {} in the base and {} in the head.",
        if base.is_some() { rounded_size(base_peak) } else { "not known".to_owned() },
        if head.is_some() { rounded_size(head_peak) } else { "not known".to_owned() },
    );
    let chart = Chart {
        frame,
        unit: Unit::Bytes,
        label: &label,
        id: &format!("compared-{}", place.index),
        plot: html! {
            @if let Some(base) = &base {
                path d=(area(&frame, base.pairs())) fill=(colours::PART) stroke="currentColor" stroke-width=".7" vector-effect="non-scaling-stroke" {
                    title { "base" }
                }
            }
            @if let Some(head) = &head {
                path d=(line(&frame, head.pairs())) fill="none" stroke=(colours::ALARM) stroke-width="2" vector-effect="non-scaling-stroke" {
                    title { "head" }
                }
            }
        },
        over: html! {},
        above: (4, html! {}),
    };
    html! {
        @if base.is_some() || head.is_some() {
            div {
                (chart.draw())
                p {
                    (swatch(colours::PART)) " Area: base. " (swatch(colours::ALARM)) " Line: head. Sum of " (drawn)
                    " of the attempt with the median of each side, from its begin: "
                    (attempt("base", &test.base, place.runs[0])) "; " (attempt("head", &test.head, place.runs[1]))
                    ". A sum of samples may be below the peak in the table, which has what processes had between two ticks."
                }
            }
        }
        @if let Some(side) = missing { p { "The memory over time of " (side) " is not known: no recording that can be read has it." } }
    }
}

fn attempt(side: &str, attempt: &Option<MedianAttempt>, runs: &[String]) -> String {
    match attempt {
        Some(it) => {
            let lasted = since(it.curve.end_ms - it.curve.begin_ms);
            format!("{side} {}, which took {lasted}", of_run(&it.number, runs))
        }
        None => format!("{side} not known"),
    }
}

/// Names the repeat that a number is of.
fn of_run(number: &Number, runs: &[String]) -> String {
    let run = runs.get(number.run).map_or("", String::as_str);
    attempt_label(&name(run, 60), number.repetition, number.attempt)
}

/// Returns what scripts draw in place of the picture; `None` where there is none.
pub(super) fn interactive(test: &ComparedTest, index: usize, tests: usize) -> Option<Interactive> {
    let buckets = (ALL_ZOOM_BUCKETS / tests.max(1)).max(BUCKETS.0);
    let [base, head] = curves(test, buckets);
    let layer = |curve: Option<Curve<()>>, name: &str, colour: &'static str, is_line: bool| {
        let layer = InteractiveLayer { name: name.to_owned(), colour, is_line };
        // The page size of another machine is not that of this: scripts get bytes.
        curve.map(|curve| (Table::single(&curve, 0, 1), vec![layer]))
    };
    let sides =
        [layer(base, "base", colours::PART, false), layer(head, "head", colours::ALARM, true)];
    let curves: Vec<_> = sides.into_iter().flatten().collect();
    (!curves.is_empty()).then(|| Interactive {
        id: format!("compared-{index}"),
        kind: Kind::Over,
        curves,
        over: Over::default(),
    })
}

/// Lists the numbers of all repeats.
fn numbers(it: &ComparedQuantity, place: &Place<'_>) -> Markup {
    let sides = [("base", &it.base, place.runs[0]), ("head", &it.head, place.runs[1])];
    html! {
        details {
            summary { "The numbers of all repeats" }
            table border="0" cellpadding="4" rules="rows" {
                thead { tr {
                    th scope="col" align="left" valign="bottom" { "Side" }
                    th scope="col" align="left" valign="bottom" { "Run" }
                    th scope="col" align="right" valign="bottom" { (what(&it.compared)) }
                    th scope="col" align="left" valign="bottom" { "Look" }
                } }
                tbody {
                    @for (side, numbers, runs) in sides {
                        @for number in numbers.iter().take(MAX_REPEATS) {
                            tr itemscope {
                                th scope="row" align="left" { (side) }
                                td { (of_run(number, runs)) }
                                td align="right" nowrap { (bounded(if side == "base" { "base_repeat" } else { "head_repeat" }, Some(number.bytes))) }
                                td { @if number.is_first { "first" } @else { "of suspects" } }
                            }
                        }
                    }
                }
            }
            @let more: usize = sides.iter().map(|(_, numbers, _)| numbers.len().saturating_sub(MAX_REPEATS)).sum();
            @if more > 0 { p { "… and " (more) " more, which results.json has." } }
        }
    }
}
