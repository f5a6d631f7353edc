//! A report as Markdown, for a pull request, an issue or the summary of a step.

use std::fmt::Write as _;
use std::time::Duration;

use memsample_input::{count, markdown_escaped, rounded_size};
use memsample_runner::results::SuiteOutcome;
use memsample_runner::results::wording::duration;

use crate::report::{Part, Report, TestReport};
use crate::sparkline::sparkline;
use crate::wording::{
    bounds, by_attention, counts, event, losses, name, nanoseconds, percent, share, since, verdict,
    without_upper_bound,
};

/// Rows of the table of tests: GitHub refuses a summary of more than 1 MiB.
const MAX_TESTS: usize = 100;
/// Roles, events and notes of a recording.
const MAX_LINES: usize = 12;
/// Characters of a curve, of a name and of a reason.
const CURVE: usize = 24;
const NAME: usize = 80;
const WHY: usize = 200;

/// Returns a report as Markdown, below 1 MiB.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    heading(&mut text, report);
    tests(&mut text, report);
    for part in &report.parts {
        machine(&mut text, part, report.parts.len() > 1);
    }
    let notes = report.results.iter().flat_map(|results| &results.notes).chain(&report.notes);
    for note in notes.take(MAX_LINES) {
        line(&mut text, &format!("\nNote: {}", markdown_escaped(&name(note, 400))));
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn heading(text: &mut String, report: &Report) {
    let title = markdown_escaped(&name(&report.title, NAME));
    let Some(results) = &report.results else {
        line(text, &format!("### Memory of {title}"));
        return;
    };
    let mark = if results.outcome == SuiteOutcome::Passed { "✅" } else { "❌" };
    line(text, &format!("### {mark} {title}: {}", results.outcome.word()));
    line(
        text,
        &format!(
            "\n{}: {}, in {}.",
            count(results.tests.len() as u64, "test"),
            counts(results),
            duration(Duration::from_nanos(results.duration_ns))
        ),
    );
}

fn tests(text: &mut String, report: &Report) {
    if report.tests.is_empty() {
        return;
    }
    line(text, "\n| | test | RSS peak | PSS peak | time | over time | why |");
    line(text, "|---|---|--:|--:|--:|---|---|");
    let tests = by_attention(&report.tests);
    for test in tests.iter().take(MAX_TESTS) {
        let memory = test.memory.as_ref();
        let word = test.verdict.map_or(String::new(), verdict);
        let mark = if test.is_success() { "" } else { "❌ " };
        line(
            text,
            &format!(
                "| {mark}{word} | {} | {} | {} | {} | {} | {} |",
                markdown_escaped(&name(&test.name, NAME)),
                bounds(memory.and_then(|memory| memory.rss_peak())),
                bounds(memory.and_then(|memory| memory.pss_peak())),
                nanoseconds(test.duration_ns),
                curve(test),
                test.why.as_ref().map_or(String::new(), |why| markdown_escaped(&name(why, WHY)))
            ),
        );
    }
    let shown = tests.get(..MAX_TESTS).unwrap_or(&tests);
    if tests.len() > shown.len() {
        line(text, &format!("\n… and {} more", tests.len() - shown.len()));
    }
    let reasons = without_upper_bound(shown, MAX_LINES);
    if !reasons.is_empty() {
        line(text, "\n<details><summary>≥: at least. Why there is no upper bound</summary>\n");
        reasons.iter().for_each(|why| line(text, &format!("- {}", markdown_escaped(why))));
        line(text, "\n</details>");
    }
}

fn curve(test: &TestReport) -> String {
    let Some(curve) = test.curve() else { return String::new() };
    let top = curve.rss.peak().map_or(0, |point| point.value);
    sparkline(&curve.rss, (curve.begin_ms, curve.end_ms), top, CURVE, false)
}

fn machine(text: &mut String, part: &Part, is_named: bool) {
    let timeline = &part.timeline;
    let of = if is_named {
        format!(" ({})", markdown_escaped(&name(&part.name, NAME)))
    } else {
        String::new()
    };
    let Some(peak) = &timeline.peak else {
        line(text, &format!("\n**The machine**{of}: nothing was sampled."));
        return;
    };
    line(
        text,
        &format!(
            "\n**The machine**{of}: all processes together had {} resident at most, {} after the begin, in {}.",
            rounded_size(peak.sums.rss_bytes),
            since(peak.ts_ms - timeline.begin_ms),
            count(peak.sums.processes.into(), "process")
        ),
    );
    let span = (timeline.begin_ms, timeline.end_ms);
    let whole = sparkline(&timeline.machine, span, peak.sums.rss_bytes, 2 * CURVE, false);
    line(text, &format!("\n`{whole}` {}", since(timeline.end_ms - timeline.begin_ms)));
    let used = part.machine.used.peak().map(|point| point.value);
    if let (Some(used), Some(total)) = (used, part.machine.total_bytes) {
        line(
            text,
            &format!(
                "\nThe machine used {} of {} at most ({}).",
                rounded_size(used),
                rounded_size(total),
                share(used, total)
            ),
        );
    }
    if let Some(pressure) = part.machine.pressure.peak().filter(|peak| peak.value > 0) {
        line(text, &format!("Memory pressure: {} of the time at most.", percent(pressure.value)));
    }
    line(text, "\n<details><summary>Roles, losses and events</summary>\n");
    line(text, "| role | peak RSS | at the peak of the machine | over time |\n|---|--:|--:|---|");
    for (index, (layer, sums)) in timeline.layers.iter().zip(&peak.layers).enumerate() {
        let curve = timeline.machine.layer(index);
        let top = curve.peak().map_or(0, |point| point.value);
        line(
            text,
            &format!(
                "| {} | {} | {} | {} |",
                markdown_escaped(&name(&layer.name, NAME)),
                layer.peak.map_or_else(|| "-".to_owned(), |peak| rounded_size(peak.bytes)),
                rounded_size(sums.rss_bytes),
                sparkline(&curve, span, top, CURVE, false)
            ),
        );
    }
    line(text, "");
    for it in part.marks.events.iter().take(MAX_LINES) {
        let at = since(it.ts_ms - timeline.begin_ms);
        line(text, &format!("- after {at}: {}", markdown_escaped(&event(it))));
    }
    let losses = losses(part);
    losses.iter().for_each(|loss| line(text, &format!("- lost: {}", markdown_escaped(loss))));
    if losses.is_empty() {
        line(text, "- nothing was lost");
    }
    line(text, "\n</details>");
}
