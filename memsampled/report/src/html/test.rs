//! A test: its memory over time, its peaks within bounds, who had them, its roles, budgets and attempts.

use std::collections::HashMap;

use maud::{Markup, html};
use memsample::analysis::MemorySums;
use memsample_input::{printable, rounded_size};
use memsample_runner::results::wording::{self as results, memory_notes, pss_note};
use memsample_runner::results::{BoundedBytes, EndResults, Memory};
use memsample_runner::suite::Quantity;

use super::anchor;
use super::chart::{Chart, Unit, anchor as side, text};
use super::colours;
use super::frame::Frame;
use super::interactive::{Interactive, InteractiveLayer, Kind, Over, Table};
use super::machine::swatch;
use super::numbers::{bounded, known_size, size};
use super::shapes::area;
use super::test_table::badge;
use crate::curve::Curve;
use crate::recorded::timeline::AttemptCurve;
use crate::report::{AttemptReport, Report, TestReport};
use crate::wording::{bounds, name, nanoseconds, since, utc, verdict};

/// The height of a picture, in pixels.
const HEIGHT: i64 = 160;
/// Spans of time of which points are drawn: of one test, and of all of them together.
const BUCKETS: (usize, usize) = (16, 200);
const ALL_BUCKETS: usize = 20_000;
/// Spans of time of which scripts have points, of all tests together.
const ALL_ZOOM_BUCKETS: usize = 10_000;
/// Roles that are listed.
const MAX_ROLES: usize = 20;
/// Attempts that are listed.
const MAX_ATTEMPTS: usize = 100;

/// Shows a test. `tests` is how many are shown, among which the room is divided.
pub(super) fn test(report: &Report, test: &TestReport, index: usize, tests: usize) -> Markup {
    let memory = test.memory.as_ref();
    let peak = memory.and_then(|memory| memory.rss_peak());
    let id = anchor::id(&test.name, index);
    html! {
        details data-test=(name(&test.name, 400)) {
            summary {
                b { (name(&test.name, 80)) } " "
                @if test.verdict.is_some() { (badge(test)) ", " }
                "RSS peak " (bounds(peak)) ", " (nanoseconds(test.duration_ns))
            }
            // A link to what is within opens it, without a script.
            div id=(id) {
                h3 { a href=(anchor::link(&id)) { (name(&test.name, 1000)) } }
                @if let Some(why) = &test.why { p { (printable(why)) } }
                @if let Some(attempt) = test.counted() {
                    (picture(report, attempt, index, tests))
                    (peaks(report, attempt))
                    (roles(attempt))
                    @if let Some(ended) = &attempt.ended { (ended_so(ended)) }
                }
                @if test.attempts.len() > 1 { (attempts(report, test)) }
            }
        }
    }
}

/// Draws the memory of an attempt over time.
fn picture(report: &Report, attempt: &AttemptReport, index: usize, tests: usize) -> Markup {
    let (Some(curve), Some(part)) = (&attempt.curve, report.part_of(attempt)) else {
        return html! { p { "Its memory over time is not known: no recording that can be read has its processes." } };
    };
    let Some(peak) = &curve.peak else {
        return html! { p { "None of its processes was sampled: it was shorter than the interval of " (part.sampling.interval_ms) " ms." } };
    };
    let budget = budget(attempt);
    let shown = budget.filter(|limit| is_near(*limit, peak.sums.rss_bytes));
    let top = peak.sums.rss_bytes.max(shown.unwrap_or(0));
    let frame = Frame::new(curve.begin_ms, curve.end_ms, top.saturating_add(top / 6), HEIGHT);
    let buckets = (ALL_BUCKETS / tests.max(1)).clamp(BUCKETS.0, BUCKETS.1);
    let of = |curve: &Curve<()>| curve.thinned(frame.begin_ms, frame.end_ms, buckets);
    let (rss, anon) = (of(&curve.rss), of(&curve.anon));
    let at = since(peak.ts_ms - curve.begin_ms);
    let label = format!(
        "Memory of the test over {}: the largest sum of resident sets is {} at {at}.",
        since(curve.end_ms - curve.begin_ms),
        rounded_size(peak.sums.rss_bytes)
    );
    let chart = Chart {
        frame,
        unit: Unit::Bytes,
        label: &label,
        id: &format!("test-{index}"),
        plot: html! {
            (filled(&frame, &rss, colours::PART, "resident sets"))
            (filled(&frame, &anon, colours::ONE, "anonymous memory"))
        },
        over: html! {
            @if let Some(limit) = shown {
                @let y = frame.pixels(limit);
                line x1="0" x2="100%" y1=(y) y2=(y) stroke=(colours::ALARM) stroke-width="2" stroke-dasharray="8 4" {}
                (text("99.5%", y - 4.0, "end", &format!("budget {}", rounded_size(limit))))
            }
            circle cx=(frame.percent(peak.ts_ms)) cy=(frame.pixels(peak.sums.rss_bytes)) r="4" fill="none" stroke="currentColor" stroke-width="2" {}
            (text(&frame.percent(peak.ts_ms), frame.pixels(peak.sums.rss_bytes) - 7.0, side(frame.x(peak.ts_ms)),
                &rounded_size(peak.sums.rss_bytes)))
        },
        above: (4, html! {}),
    };
    html! {
        div {
            (chart.draw())
            p {
                (swatch(colours::PART)) " Sum of resident sets, " (swatch(colours::ONE)) " of it anonymous. "
                "It began " (since(curve.begin_ms - part.timeline.begin_ms)) " after the begin of the recording, at " (utc(curve.begin_ms)) ". "
                @if let (Some(limit), None) = (budget, shown) { "Its budget, " (rounded_size(limit)) ", is above this picture. " }
            }
        }
    }
}

/// Returns what scripts draw in place of the picture of a test; `None` where there is none. `tests` is how many are shown.
pub(super) fn interactive(
    report: &Report,
    test: &TestReport,
    index: usize,
    tests: usize,
) -> Option<Interactive> {
    let attempt = test.counted()?;
    let (curve, part) = (attempt.curve.as_ref()?, report.part_of(attempt)?);
    let peak = curve.peak.as_ref()?;
    let page_bytes = part.manifest.provenance.machine.page_bytes.unwrap_or(1);
    let buckets = (ALL_ZOOM_BUCKETS / tests.max(1)).max(BUCKETS.0);
    let layer = |curve: &AttemptCurve, of: &Curve<()>, name: &str, colour: &'static str| {
        let thinned = of.thinned(curve.begin_ms, curve.end_ms, buckets);
        let layer = InteractiveLayer { name: name.to_owned(), colour, is_line: false };
        (Table::single(&thinned, curve.begin_ms, page_bytes), vec![layer])
    };
    let limit = budget(attempt).filter(|limit| is_near(*limit, peak.sums.rss_bytes));
    Some(Interactive {
        id: format!("test-{index}"),
        kind: Kind::Over,
        curves: vec![
            layer(curve, &curve.rss, "resident sets", colours::PART),
            layer(curve, &curve.anon, "of it anonymous", colours::ONE),
        ],
        over: Over { limit: limit.map(|bytes| (bytes, "budget")), ..Over::default() },
    })
}

/// Returns the smallest budget of the peak of resident sets of an attempt.
fn budget(attempt: &AttemptReport) -> Option<u64> {
    let budgets = attempt.ended.iter().flat_map(|ended| &ended.budgets).map(|it| &it.budget);
    let budgets = budgets.filter(|it| it.role.is_none() && it.quantity == Quantity::RssPeak);
    budgets.map(|it| it.limit_bytes).min()
}

/// Returns whether a limit is drawn: far above the curve it would make it flat.
fn is_near(limit: u64, peak: u64) -> bool {
    limit <= peak.saturating_mul(3)
}

fn filled(frame: &Frame, curve: &Curve<()>, colour: &str, what: &str) -> Markup {
    html! {
        path d=(area(frame, curve.pairs())) fill=(colour) stroke="currentColor" stroke-width=".7" vector-effect="non-scaling-stroke" {
            title { (what) }
        }
    }
}

/// Lists the peaks of an attempt.
fn peaks(report: &Report, attempt: &AttemptReport) -> Markup {
    let Some(memory) = &attempt.memory else {
        return html! { p { "Its memory was not measured." } };
    };
    let begin_ms = attempt.curve.as_ref().map(|curve| curve.begin_ms);
    let begin_ms = begin_ms.or(report.part_of(attempt).map(|part| part.timeline.begin_ms));
    let at = |at: Option<jiff::Timestamp>| match (at, begin_ms) {
        (Some(at), Some(begin_ms)) => since(at.as_millisecond() - begin_ms),
        _ => "-".to_owned(),
    };
    let group = attempt.ended.as_ref().and_then(|ended| ended.group.as_ref());
    let row = |what: &str, key: &str, bytes: Option<BoundedBytes>, at: String, note: &str| {
        html! {
            tr itemscope {
                th scope="row" align="left" { (what) }
                td align="right" nowrap { (bounded(key, bytes)) }
                td align="right" nowrap { (at) }
                td { (note) }
            }
        }
    };
    html! {
        table border="0" cellpadding="4" rules="rows" {
            caption { "Peaks of all its processes together" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Memory" }
                th scope="col" align="right" valign="bottom" { "Peak" }
                th scope="col" align="right" valign="bottom" { "at" }
                th scope="col" align="left" valign="bottom" { "What it is" }
            } }
            tbody {
                (row("RSS", "rss_peak_bytes", memory.rss_peak(), at(memory.rss_peak_at), "resident sets; shared pages count once for each process"))
                (row("PSS", "pss_peak_bytes", memory.pss_peak(), at(memory.pss_peak_at), &pss_note(memory)))
                (row("anonymous", "anon_peak_bytes", memory.anon_peak(), at(memory.anon_peak_at), "heap, stacks, private data"))
                @if let Some(group) = group {
                    (row("control group", "group_peak_bytes", group.group_peak(), at(group.group_largest_at),
                        "all that the kernel charged to it, with page cache and memory that no process maps"))
                    (row("shared", "shmem_peak_bytes", group.shmem_peak(), at(group.shmem_peak_at), "tmpfs, memfd, System V; mapped or not"))
                }
            }
        }
        (notes(memory))
    }
}

/// Says how far the numbers go, in the words of a run.
fn notes(memory: &Memory) -> Markup {
    html! { ul { @for note in memory_notes(memory) { li { (note) } } } }
}

/// Lists the roles of an attempt, with what each had at the peak of all.
fn roles(attempt: &AttemptReport) -> Markup {
    let peak = attempt.curve.as_ref().and_then(|curve| curve.peak.as_ref());
    let mut at_peak: HashMap<&str, &MemorySums> = peak
        .iter()
        .flat_map(|peak| &peak.roles)
        .map(|(role, sums)| (role.as_str(), sums))
        .collect();
    let whole = peak.map_or(0, |peak| peak.sums.rss_bytes);
    let shown = attempt.roles.iter().take(MAX_ROLES).map(|role| {
        (
            role.role.as_str(),
            Some(role.rss_peak()),
            Some(role.processes),
            at_peak.remove(role.role.as_str()),
        )
    });
    let mut rows: Vec<_> = shown.collect();
    let mut rest = MemorySums::default();
    at_peak.into_values().for_each(|sums| rest += *sums);
    if rest.processes > 0 {
        rows.push(("all other roles", None, None, Some(&rest)));
    }
    if rows.is_empty() {
        return html! {};
    }
    let part = |bytes: Option<u64>, key: &str| match bytes {
        Some(bytes) => size(key, bytes),
        None => html! { @if peak.is_some() { "0 B" } @else { "-" } },
    };
    html! {
        table border="0" cellpadding="4" rules="rows" {
            caption { "Its roles, and what each had at the largest sum of samples" @if peak.is_some() { ", " (size("sampled_peak", whole)) } }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Role" }
                th scope="col" align="right" valign="bottom" { "RSS peak" }
                th scope="col" align="right" valign="bottom" { "Processes" }
                th scope="col" align="right" valign="bottom" { "RSS then" }
                th scope="col" align="left" valign="bottom" { "Share" }
                th scope="col" align="right" valign="bottom" { "anonymous" }
                th scope="col" align="right" valign="bottom" { "files and shared" }
                th scope="col" align="right" valign="bottom" { "in swap" }
            } }
            tbody {
                @for (role, bytes, processes, sums) in &rows {
                    tr itemscope {
                        th scope="row" align="left" { (name(role, 60)) }
                        td align="right" nowrap { (bounded("role_rss_peak_bytes", *bytes)) }
                        td align="right" nowrap { @match processes { Some(processes) => (processes), None => "-" } }
                        td align="right" nowrap { (part(sums.map(|it| it.rss_bytes), "role_then")) }
                        td { (share(sums.map_or(0, |it| it.anon_bytes), sums.map_or(0, |it| it.rss_bytes), whole)) }
                        td align="right" nowrap { (part(sums.map(|it| it.anon_bytes), "role_anon_then")) }
                        td align="right" nowrap { (part(sums.map(|it| it.rss_bytes.saturating_sub(it.anon_bytes)), "role_file_then")) }
                        td align="right" nowrap { (part(sums.map(|it| it.swap_bytes), "role_swap_then")) }
                    }
                }
            }
        }
        @if attempt.roles.len() > MAX_ROLES { p { (attempt.roles.len() - MAX_ROLES) " smaller roles are in results.json." } }
    }
}

/// Draws a part of a whole: anonymous memory, and the rest of the resident set.
fn share(anon: u64, rss: u64, whole: u64) -> Markup {
    const WIDTH: u128 = 100;
    let width = |bytes: u64| u128::from(bytes) * WIDTH / u128::from(whole.max(1));
    html! {
        svg width=(WIDTH) height="12" aria-hidden="true" {
            rect width=(width(rss)) height="12" fill=(colours::PART) {}
            rect width=(width(anon.min(rss))) height="12" fill=(colours::ONE) {}
        }
    }
}

/// Says how an attempt ended, beyond its verdict.
fn ended_so(ended: &EndResults) -> Markup {
    html! {
        @if !ended.budgets.is_empty() {
            h4 { "Budgets" }
            ul { @for it in &ended.budgets { li { (results::budget(it)) } } }
        }
        @if !ended.left_over_processes.is_empty() {
            h4 { "Left over" }
            ul {
                @for it in ended.left_over_processes.iter().take(MAX_ROLES) {
                    li { (printable(&it.comm)) " (" (it.pid) "), " (known_size("left_over_rss", it.rss_bytes)) }
                }
            }
        }
        p {
            @if let Some(sandbox) = &ended.sandbox { "Sandbox: " (printable(sandbox)) ". " }
            @for (what, path) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
                @if let Some(path) = path { (what) ": " code { (name(path, 200)) } ". " }
            }
            @for note in ended.notes.iter().take(MAX_ROLES) { (printable(note)) ". " }
        }
    }
}

/// Lists all attempts of a test.
fn attempts(report: &Report, test: &TestReport) -> Markup {
    html! {
        table border="0" cellpadding="4" rules="rows" {
            caption { "Its attempts" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Attempt" }
                th scope="col" align="left" valign="bottom" { "Verdict" }
                th scope="col" align="right" valign="bottom" { "RSS peak" }
                th scope="col" align="right" valign="bottom" { "PSS peak" }
                th scope="col" align="right" valign="bottom" { "Time" }
                th scope="col" align="right" valign="bottom" { "Began" }
            } }
            tbody {
                @for (index, attempt) in test.attempts.iter().enumerate().take(MAX_ATTEMPTS) {
                    @let memory = attempt.memory.as_ref();
                    @let ended = attempt.ended.as_ref();
                    tr itemscope {
                        th scope="row" align="left" {
                            @if attempt.mark.is_empty() { (index + 1) } @else { (name(&attempt.mark, 40)) }
                            @if index == test.counts { " (shown above)" }
                        }
                        td { @match ended { Some(ended) => (verdict(ended.outcome)), None => "-" } }
                        td align="right" nowrap { (bounded("attempt_rss_peak_bytes", memory.and_then(|it| it.rss_peak()))) }
                        td align="right" nowrap { (bounded("attempt_pss_peak_bytes", memory.and_then(|it| it.pss_peak()))) }
                        td align="right" nowrap { (nanoseconds(ended.and_then(|it| it.duration_ns))) }
                        td align="right" nowrap { (began(report, attempt)) }
                    }
                }
            }
        }
        @if test.attempts.len() > MAX_ATTEMPTS { p { "… and " (test.attempts.len() - MAX_ATTEMPTS) " more attempts." } }
    }
}

fn began(report: &Report, attempt: &AttemptReport) -> String {
    let begin_ms = attempt.curve.as_ref().map(|curve: &AttemptCurve| curve.begin_ms);
    match (begin_ms, report.part_of(attempt)) {
        (Some(begin_ms), Some(part)) => since(begin_ms - part.timeline.begin_ms),
        _ => "-".to_owned(),
    }
}
