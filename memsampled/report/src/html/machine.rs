//! The machine over time: who had its memory, which tests ran, what happened, and how near the limits were.

use maud::{Markup, html};
use memsample::MarkKind;
use memsample_input::{count, rounded_size};

use super::chart::{Chart, Unit, anchor, text};
use super::colours;
use super::frame::Frame;
use super::interactive::{Interactive, InteractiveLayer, Kind, Over, Table};
use super::numbers::{known_size, size};
use super::shapes::{area, line};
use super::stack;
use crate::recorded::marks::RecordedEvent;
use crate::recorded::timeline::{Layer, Timeline};
use crate::report::{Part, Report};
use crate::wording::{self, event, name, percent, share, since};

/// The heights of the pictures, in pixels.
const HEIGHT: i64 = 300;
const PRESSURE_HEIGHT: i64 = 60;
/// Spans of time of which points are drawn.
const BUCKETS: usize = 400;
/// What is far above the stack is said and not drawn: the stack would be flat.
const MAX_ABOVE: u64 = 3;
/// Lanes of tests that ran at the same time, and the height of one.
const LANES: usize = 4;
const LANE_HEIGHT: i64 = 18;
/// Bands of tests that are drawn: the longest.
const MAX_BANDS: usize = 400;
/// Characters of a name in a picture that can be zoomed.
const MAX_NAME: usize = 60;
/// Events and control groups that are listed.
const MAX_EVENTS: usize = 50;
const MAX_GROUPS: usize = 10;

/// Draws the machine over the time of a recording.
pub(super) fn machine(part: &Part, index: usize, bands: &[Band]) -> Markup {
    let Some(peak) = &part.timeline.peak else {
        return html! { p { "Nothing was sampled: the recording has no sample." } };
    };
    let timeline = &part.timeline;
    let (used, total) = (part.machine.used.peak().map(|it| it.value), part.machine.total_bytes);
    let stacked = peak.sums.rss_bytes;
    let is_near = |bytes: &u64| *bytes <= stacked.saturating_mul(MAX_ABOVE);
    let top =
        [Some(stacked), used.filter(is_near), total.filter(is_near)].into_iter().flatten().max();
    let top = top.unwrap_or(stacked);
    let frame =
        Frame::new(timeline.begin_ms, timeline.end_ms, top.saturating_add(top / 20), HEIGHT);
    let curve = timeline.machine.thinned(timeline.begin_ms, timeline.end_ms, BUCKETS);
    let lanes = bands.iter().map(|band| band.lane + 1).max().unwrap_or(0);
    let above = i64::try_from(lanes).unwrap_or(0) * LANE_HEIGHT + 14;
    let limit = total.filter(is_near);
    let label = format!(
        "Resident memory of all processes over {}, stacked by role. The peak is {} at {}; the table below has the roles.",
        since(timeline.end_ms - timeline.begin_ms),
        rounded_size(stacked),
        since(peak.ts_ms - timeline.begin_ms)
    );
    let chart = Chart {
        frame,
        unit: Unit::Bytes,
        label: &label,
        id: &format!("machine-{index}"),
        plot: html! {
            (stack::areas(&frame, &timeline.layers, &curve))
            @if used.is_some_and(|used| is_near(&used)) { (used_line(&frame, part)) }
        },
        over: html! {
            (stack::labels(&frame, &timeline.layers, &curve))
            (events(&frame, &part.marks.events))
            @if let Some(limit) = limit {
                @let y = frame.pixels(limit);
                line x1="0" x2="100%" y1=(y) y2=(y) stroke=(colours::ALARM) stroke-width="2" stroke-dasharray="8 4" {}
                (text("99.5%", y - 4.0, "end", &format!("limit: memory of the machine, {}", rounded_size(limit))))
            }
            circle cx=(frame.percent(peak.ts_ms)) cy=(frame.pixels(stacked)) r="4" fill="none" stroke="currentColor" stroke-width="2" {}
            (text(&frame.percent(peak.ts_ms), frame.pixels(stacked) - 8.0, anchor(frame.x(peak.ts_ms)),
                &format!("peak {}", rounded_size(stacked))))
        },
        above: (above, html! { @for band in bands { (draw_band(&frame, band)) } }),
    };
    html! {
        div {
            (chart.draw())
            p { (caption(part, used, total, top)) }
        }
        (layers(part, index))
        (pressure(part, index))
        (limits(part))
        (listed(part))
    }
}

/// Returns what scripts draw in place of the picture.
pub(super) fn interactive(part: &Part, index: usize, bands: &[Band]) -> Interactive {
    let Timeline { layers, begin_ms, machine, .. } = &part.timeline;
    let begin_ms = *begin_ms;
    let page_bytes = part.manifest.provenance.machine.page_bytes.unwrap_or(1);
    let table = Table::stacked(machine, begin_ms, layers.len(), page_bytes);
    let of = |(place, layer): (usize, &Layer)| InteractiveLayer {
        name: name(&layer.name, MAX_NAME),
        colour: colours::layer(place, layers.len()),
        is_line: false,
    };
    let test = |band: &Band| {
        let (begin, end) = (band.begin_ms - begin_ms, band.end_ms - begin_ms);
        (name(&band.name, MAX_NAME), begin, end, band.lane, band.is_success)
    };
    let event = |it: &RecordedEvent| (it.ts_ms - begin_ms, it.kind == MarkKind::OomKill);
    Interactive {
        id: format!("machine-{index}"),
        kind: Kind::Stack,
        curves: vec![(table, layers.iter().enumerate().map(of).collect())],
        over: Over {
            tests: bands.iter().map(test).collect(),
            events: part.marks.events.iter().map(event).collect(),
            limit: part.machine.total_bytes.map(|bytes| (bytes, "limit")),
            details: Some(format!("roles-{index}")),
            still: Some("with what the machine has used"),
        },
    }
}

fn used_line(frame: &Frame, part: &Part) -> Markup {
    let timeline = &part.timeline;
    let used = part.machine.used.thinned(timeline.begin_ms, timeline.end_ms, BUCKETS);
    html! {
        path d=(line(frame, used.pairs())) fill="none" stroke="currentColor" stroke-width="1.5"
            stroke-dasharray="2 3" vector-effect="non-scaling-stroke" {
            title { "used by the machine: all memory less what is available" }
        }
    }
}

fn caption(part: &Part, used: Option<u64>, total: Option<u64>, top: u64) -> Markup {
    html! {
        "Sum of the resident sets of all processes, by role. Memory that processes share counts once for each of them, so that the sum may be above what the machine has used. "
        @match used {
            Some(used) if used <= top => { "The dotted line is what the machine has used: all its memory less what is available, " (size("machine_used_peak", used)) " at most. " }
            Some(used) => { "The machine had used " (size("machine_used_peak", used)) " at most, which is above this picture: other users of memory, such as the kernel and files, or processes that are not in this recording. " }
            None => { "What the machine had used is not known. " }
        }
        @match total {
            Some(total) if total > top => { "Its limit, " (size("machine_total", total)) ", is above this picture." }
            _ => {}
        }
        @if part.sampling.totals.missed > 0 { " Where the recorder missed more than one tick, the picture has a gap." }
    }
}

/// A test that ran.
pub(super) struct Band {
    pub(super) lane: usize,
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    pub(super) name: String,
    pub(super) is_success: bool,
}

/// Returns the attempts of tests in a part, each in a lane in which no other runs at the same time.
pub(super) fn bands(report: &Report, part: &Part, index: usize) -> Vec<Band> {
    let verdicts = report.tests.iter().flat_map(|test| {
        test.attempts.iter().filter(|attempt| attempt.part == Some(index)).map(|attempt| {
            let verdict = attempt.ended.as_ref().map(|ended| ended.outcome);
            ((test.name.as_str(), attempt.mark.as_str()), verdict)
        })
    });
    let verdicts: std::collections::HashMap<_, _> = verdicts.collect();
    let end_ms = part.timeline.end_ms;
    let mut spans: Vec<_> = part.marks.spans.iter().collect();
    spans.sort_by_key(|span| span.begin_ms - span.end_ms.unwrap_or(end_ms));
    spans.truncate(MAX_BANDS);
    spans.sort_by_key(|span| span.begin_ms);
    let mut lanes = [i64::MIN; LANES];
    let mut bands = Vec::new();
    for span in spans {
        let Some(lane) = lanes.iter().position(|ended_ms| *ended_ms <= span.begin_ms) else {
            continue;
        };
        let span_end_ms = span.end_ms.unwrap_or(end_ms);
        if let Some(ended_ms) = lanes.get_mut(lane) {
            *ended_ms = span_end_ms;
        }
        let verdict = verdicts.get(&(span.test.as_str(), span.mark.as_str())).copied().flatten();
        bands.push(Band {
            lane,
            begin_ms: span.begin_ms,
            end_ms: span_end_ms,
            name: span.test.clone(),
            is_success: verdict.is_none_or(|verdict| verdict.is_success()),
        });
    }
    bands
}

fn draw_band(frame: &Frame, band: &Band) -> Markup {
    let (begin, end) = (frame.x(band.begin_ms), frame.x(band.end_ms));
    let width = (end - begin).max(10);
    let y = i64::try_from(band.lane).unwrap_or(0) * LANE_HEIGHT;
    // On a narrow page a character takes two hundredths of the width.
    let chars = usize::try_from(width / 110).unwrap_or(0);
    let stroke = if band.is_success { "currentColor" } else { colours::ALARM };
    let mark = if band.is_success { "" } else { "✗ " };
    let lasted = since(band.end_ms - band.begin_ms);
    html! {
        svg x=(frame.percent(band.begin_ms)) y=(y) width=(super::frame::percent(width)) height=(LANE_HEIGHT - 2) {
            title { (name(&band.name, 100)) ": " (lasted) " from " (since(band.begin_ms - frame.begin_ms)) }
            rect width="100%" height="100%" fill="currentColor" fill-opacity=".12" stroke=(stroke) {}
            @if chars >= 4 { text x="3" y="12" font-size="11" { (mark) (name(&band.name, chars)) } }
        }
    }
}

/// Draws OOM kills, suspends and what else happened as lines.
fn events(frame: &Frame, events: &[RecordedEvent]) -> Markup {
    html! {
        @for it in events.iter().take(MAX_EVENTS) {
            @let x = frame.percent(it.ts_ms);
            @let is_kill = it.kind == MarkKind::OomKill;
            @let colour = if is_kill { colours::ALARM } else { "currentColor" };
            g {
                title { (event(it)) " at " (since(it.ts_ms - frame.begin_ms)) }
                line x1=(x) x2=(x) y1="0" y2=(frame.height) stroke=(colour) stroke-width=(if is_kill { "2" } else { "1" })
                    stroke-dasharray=[(!is_kill).then_some("3 3")] {}
                @if is_kill { (text(&x, 24.0, anchor(frame.x(it.ts_ms)), "OOM kill")) }
            }
        }
    }
}

/// Lists the roles of the stack.
fn layers(part: &Part, index: usize) -> Markup {
    let timeline = &part.timeline;
    let Some(peak) = &timeline.peak else { return html! {} };
    html! {
        table id={ "roles-" (index) } border="0" cellpadding="4" rules="rows" {
            caption { "Roles, largest peak first" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Role" }
                th scope="col" align="right" valign="bottom" { "Peak RSS" }
                th scope="col" align="right" valign="bottom" { "at" }
                th scope="col" align="right" valign="bottom" { "RSS at the peak of the machine" }
                th scope="col" align="right" valign="bottom" { "of it anonymous" }
                th scope="col" align="right" valign="bottom" { "Images" }
            } }
            tbody {
                @for (place, (layer, sums)) in timeline.layers.iter().zip(&peak.layers).enumerate() {
                    tr itemscope data-role=(name(&layer.name, 200)) {
                        th scope="row" align="left" { (swatch(colours::layer(place, timeline.layers.len()))) " " (name(&layer.name, 60)) }
                        td align="right" nowrap { (known_size("role_peak", layer.peak.map(|peak| peak.bytes))) }
                        td align="right" nowrap { @match layer.peak { Some(peak) => (since(peak.ts_ms - timeline.begin_ms)), None => "-" } }
                        td align="right" nowrap { (size("role_at_peak", sums.rss_bytes)) }
                        td align="right" nowrap { (size("role_anon_at_peak", sums.anon_bytes)) }
                        td align="right" nowrap { (layer.images) }
                    }
                }
                tr itemscope {
                    th scope="row" align="left" { "all processes" }
                    td align="right" nowrap { (size("machine_peak", peak.sums.rss_bytes)) }
                    td align="right" nowrap { (since(peak.ts_ms - timeline.begin_ms)) }
                    td align="right" nowrap { (size("machine_at_peak", peak.sums.rss_bytes)) }
                    td align="right" nowrap { (size("machine_anon_at_peak", peak.sums.anon_bytes)) }
                    td align="right" nowrap { (part.manifest.totals.processes) }
                }
            }
        }
    }
}

/// Draws a small field of a colour.
pub(super) fn swatch(colour: &str) -> Markup {
    html! {
        svg width="12" height="12" aria-hidden="true" {
            rect width="12" height="12" fill=(colour) stroke="currentColor" {}
        }
    }
}

/// Draws how much time tasks waited for memory.
fn pressure(part: &Part, index: usize) -> Markup {
    let machine = &part.machine;
    if !machine.has_pressure {
        return html! { p { "Memory pressure: not measured, since this kernel does not tell it (PSI)." } };
    }
    let peak = machine.pressure.peak().map_or(0, |peak| peak.value);
    if peak == 0 {
        return html! { p { "Memory pressure: none. No task waited for memory while it was recorded." } };
    }
    let timeline = &part.timeline;
    let curve = machine.pressure.thinned(timeline.begin_ms, timeline.end_ms, BUCKETS);
    let frame = Frame::new(timeline.begin_ms, timeline.end_ms, peak + peak / 10, PRESSURE_HEIGHT);
    let waited = machine.waited_us.unwrap_or(0);
    let label = format!(
        "Memory pressure: the share of time in which a task waited for memory, {} at most.",
        percent(peak)
    );
    let chart = Chart {
        frame,
        unit: Unit::Share,
        label: &label,
        id: &format!("pressure-{index}"),
        plot: html! {
            path d=(area(&frame, curve.pairs())) fill=(colours::ALARM) stroke="currentColor" stroke-width=".7"
                vector-effect="non-scaling-stroke" {}
        },
        over: html! {},
        above: (4, html! {}),
    };
    html! {
        div {
            (chart.draw())
            p {
                "Memory pressure: share of time in which some task waited for memory; " (percent(peak)) " at most, "
                (format!("{:.1} s", waited as f64 / 1e6)) " in all."
            }
        }
    }
}

/// Says how near the limits were.
fn limits(part: &Part) -> Markup {
    let machine = &part.machine;
    let groups = &part.limits;
    html! {
        table border="0" cellpadding="4" rules="rows" {
            caption { "Limits" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Limit" }
                th scope="col" align="right" valign="bottom" { "Bytes" }
                th scope="col" align="right" valign="bottom" { "Used at most" }
                th scope="col" align="right" valign="bottom" { "Share" }
                th scope="col" align="right" valign="bottom" { "OOM kills" }
            } }
            tbody {
                tr itemscope {
                    th scope="row" align="left" { "memory of the machine" }
                    td align="right" nowrap { (known_size("machine_limit", machine.total_bytes)) }
                    td align="right" nowrap { (known_size("machine_used", machine.used.peak().map(|it| it.value))) }
                    td align="right" nowrap { (of(machine.used.peak().map(|it| it.value), machine.total_bytes)) }
                    td align="right" nowrap { @match machine.oom_kills { Some(kills) => (kills), None => "-" } }
                }
                tr itemscope {
                    th scope="row" align="left" { "swap" }
                    td align="right" nowrap { (known_size("swap_limit", machine.swap_total_bytes)) }
                    td align="right" nowrap { (known_size("swap_used", machine.swap_used.map(|it| it.0))) }
                    td align="right" nowrap { (of(machine.swap_used.map(|it| it.0), machine.swap_total_bytes)) }
                    td {}
                }
                @for group in groups.iter().take(MAX_GROUPS) {
                    tr itemscope {
                        th scope="row" align="left" { "control group " code { (name(&group.cgroup, 60)) } }
                        td align="right" nowrap { (size("group_limit", group.limit_bytes)) }
                        td align="right" nowrap { (size("group_used", group.largest_bytes)) }
                        td align="right" nowrap { (share(group.largest_bytes, group.limit_bytes)) }
                        td align="right" nowrap { @match group.oom_kills { Some(kills) => (kills), None => "-" } }
                    }
                }
            }
        }
        @if groups.len() > MAX_GROUPS { p { (count((groups.len() - MAX_GROUPS) as u64, "more control group")) " with a limit." } }
    }
}

fn of(part: Option<u64>, whole: Option<u64>) -> String {
    part.zip(whole).map_or_else(|| wording::UNKNOWN.to_owned(), |(part, whole)| share(part, whole))
}

/// Lists what happened.
fn listed(part: &Part) -> Markup {
    let marks = &part.marks;
    if marks.events.is_empty() {
        return html! {};
    }
    let more = marks.more_events + marks.events.len().saturating_sub(MAX_EVENTS) as u64;
    html! {
        h3 { "What happened" }
        ul {
            @for it in marks.events.iter().take(MAX_EVENTS) {
                li { (since(it.ts_ms - part.timeline.begin_ms)) ": " (event(it)) }
            }
        }
        @if more > 0 { p { (count(more, "more event")) "." } }
    }
}
