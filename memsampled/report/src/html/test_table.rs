//! The verdict and the memory of each test, in one table.

use maud::{Markup, html};

use super::anchor;
use super::colours;
use super::numbers::bounded;
use crate::report::{Report, TestReport};
use crate::wording::{name, nanoseconds, verdict};

/// Tests in the table, at most.
pub(super) const MAX_TESTS: usize = 2000;
/// The width of a bar, in pixels.
const BAR: u64 = 120;

/// Lists the tests, in their order.
pub(super) fn tests(report: &Report) -> Markup {
    let largest = report.tests.iter().filter_map(TestReport::rss_peak_bytes).max().unwrap_or(0);
    html! {
        table id="tests" border="0" cellpadding="4" rules="rows" {
            caption { "Tests, in the order of the suite. Peaks are of all processes of a test together" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Verdict" }
                th scope="col" align="left" valign="bottom" { "Test" }
                th scope="col" align="right" valign="bottom" { "RSS peak" }
                th scope="col" align="left" valign="bottom" { "Share" }
                th scope="col" align="right" valign="bottom" { "PSS peak" }
                th scope="col" align="right" valign="bottom" { "Time" }
                th scope="col" align="left" valign="bottom" { "Why" }
            } }
            tbody {
                @for (index, test) in report.tests.iter().enumerate().take(MAX_TESTS) {
                    (row(test, index, largest))
                }
            }
        }
        @if report.tests.len() > MAX_TESTS {
            p { "… and " (report.tests.len() - MAX_TESTS) " more tests, which results.json has." }
        }
    }
}

fn row(test: &TestReport, index: usize, largest: u64) -> Markup {
    let memory = test.memory.as_ref();
    let peak = memory.and_then(|memory| memory.rss_peak());
    let link = anchor::link(&anchor::id(&test.name, index));
    html! {
        tr itemscope data-test=(name(&test.name, 400)) data-verdict=[test.verdict.map(|it| it.word())] {
            td nowrap { (badge(test)) }
            th scope="row" align="left" { a href=(link) title=[(test.name.len() > 60).then(|| name(&test.name, 1000))] { (name(&test.name, 60)) } }
            td align="right" nowrap { (bounded("rss_peak_bytes", peak)) }
            td { (bar(peak.map_or(0, |peak| peak.lower), largest)) }
            td align="right" nowrap { (bounded("pss_peak_bytes", memory.and_then(|it| it.pss_peak()))) }
            td align="right" nowrap { (nanoseconds(test.duration_ns)) }
            td { @if let Some(why) = &test.why { (name(why, 160)) } }
        }
    }
}

/// Shows a verdict as a sign and a word.
pub(super) fn badge(test: &TestReport) -> Markup {
    let Some(known) = test.verdict else { return html! { "-" } };
    html! {
        @if known.is_success() { "✓ " } @else { b { "✗ " } }
        @if known.is_success() { (verdict(known)) } @else { b { (verdict(known)) } }
    }
}

fn bar(bytes: u64, largest: u64) -> Markup {
    let width = u128::from(bytes) * u128::from(BAR) / u128::from(largest.max(1));
    html! {
        svg width=(BAR) height="12" aria-hidden="true" {
            rect width=(width) height="12" fill=(colours::ONE) stroke="currentColor" stroke-width=".7" {}
        }
    }
}
