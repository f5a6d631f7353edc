//! What is printed when a suite has ended.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use memsample_input::{printable, rounded_size};

use super::line;
use crate::report::collector::SuiteResult;
use crate::results::wording;
use crate::results::{
    AttemptResults, BoundedBytes, FILE, Repeated, Spread, SuiteOutcome, TestResults, Verdict,
};

/// Rows that are printed: more cannot be read, and are in the files.
const MAX_ROWS: usize = 100;

/// Says what the sign before a size means.
const LEGEND: &str = "≥: at least; no upper bound is known, for the reason see junit.xml";

/// Returns a table of the tests and a line that sums up, cut at `width` columns if there is a width.
///
/// Of more than a hundred tests it shows those that did not succeed first, then the largest.
#[must_use]
pub fn text(suite: &SuiteResult, color: bool, width: Option<usize>) -> String {
    let tests = &suite.results.tests;
    let shown = shown(tests);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["OUTCOME", "TEST", "TIME", "RSS PEAK", "PSS PEAK", "WHY"]);
    for test in &shown {
        table.add_row(row(test));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if matches!(index, 2..=4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    let verdicts = std::iter::once(None).chain(shown.iter().map(|test| Some(test.ended.outcome)));
    if !shown.is_empty() {
        for (text_of_row, verdict) in table.lines().zip(verdicts) {
            text.push_str(&colored(&cut(&text_of_row, width), verdict.filter(|_| color)));
            text.push('\n');
        }
    }
    if shown.len() < tests.len() {
        let more = tests.len() - shown.len();
        text.push_str(&format!("… and {more} more, in {}\n", FILE));
    }
    text.push_str(&repeated(&shown, width));
    let has_lower_bound = |test: &&TestResults| {
        let rss = test.ended.memory.as_ref().and_then(|memory| memory.rss_peak());
        rss.is_some_and(|rss| rss.upper.is_none())
    };
    if shown.iter().any(has_lower_bound) {
        text.push_str(&cut(LEGEND, width));
        text.push('\n');
    }
    text.push_str(&summary(suite));
    text
}

/// Returns a table of the tests that ran several times; empty where none did.
fn repeated(shown: &[&TestResults], width: Option<usize>) -> String {
    let of_test = |test: &&TestResults| Some((printable(&test.name), test.repeated.clone()?));
    let repeated: Vec<_> = shown.iter().filter_map(of_test).collect();
    if repeated.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["REPEATED", "RUNS", "MEDIAN RSS", "MIN TO MAX", "MEDIAN PSS", "MIN TO MAX"]);
    let cells = |spread: Option<Spread>, runs: u64| {
        let Some(Spread { count, median, min, max }) = spread else {
            return ["-".to_owned(), String::new()];
        };
        let of = if count < runs { format!(" ({count} runs)") } else { String::new() };
        [rounded_size(median), format!("{} to {}{of}", rounded_size(min), rounded_size(max))]
    };
    for (name, repeated) in repeated {
        let Repeated { repetitions: runs, rss_peak_bytes, pss_peak_bytes, .. } = repeated;
        let [rss, rss_range] = cells(rss_peak_bytes, runs);
        let [pss, pss_range] = cells(pss_peak_bytes, runs);
        table.add_row([name, runs.to_string(), rss, rss_range, pss, pss_range]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let lines = table.lines().map(|line| format!("{}\n", cut(&line, width)));
    format!("\n{}", lines.collect::<String>())
}

/// Returns the tests that are shown, in the order of the suite.
fn shown(tests: &[TestResults]) -> Vec<&TestResults> {
    let mut ranked: Vec<(usize, &TestResults)> = tests.iter().enumerate().collect();
    if ranked.len() > MAX_ROWS {
        ranked.sort_by_key(|(_, test)| {
            (test.ended.outcome.is_success(), std::cmp::Reverse(test.rss_peak_bytes()))
        });
        ranked.truncate(MAX_ROWS);
        ranked.sort_by_key(|(position, _)| *position);
    }
    ranked.into_iter().map(|(_, test)| test).collect()
}

fn row(test: &TestResults) -> [String; 6] {
    let unknown = || "-".to_owned();
    let ended = &test.ended;
    let memory = ended.memory.as_ref();
    let peak = |peak: Option<BoundedBytes>| peak.map_or_else(unknown, wording::bounded);
    let failed = test.attempts.iter().find(|attempt| !attempt.ended.outcome.is_success());
    let why = match (ended.outcome, failed) {
        (Verdict::Flaky, Some(failed)) => Some(AttemptResults::failure(failed)),
        _ => ended.reason.clone(),
    };
    let duration = ended.duration_ns.map(Duration::from_nanos);
    [
        ended.outcome.word().to_owned(),
        printable(&test.name),
        duration.map_or_else(unknown, wording::duration),
        peak(memory.and_then(|memory| memory.rss_peak())),
        memory.and_then(|memory| memory.pss_peak_bytes).map_or_else(unknown, rounded_size),
        printable(&why.unwrap_or_default()),
    ]
}

/// Cuts a line at the width of a terminal.
fn cut(line: &str, width: Option<usize>) -> String {
    let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
    match width {
        Some(width) if line.chars().count() > width => {
            let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
            cut.push('…');
            cut
        }
        _ => line.to_owned(),
    }
}

/// Colours the outcome, with which a row begins.
fn colored(line: &str, verdict: Option<Verdict>) -> String {
    let Some(verdict) = verdict else { return line.to_owned() };
    match line.strip_prefix(verdict.word()) {
        Some(rest) => format!("{}{rest}", line::styled(verdict, 0, true)),
        None => line.to_owned(),
    }
}

/// Describes how it went in one line: `failed: 6 tests in 4.123 s: 2 passed, 1 failed, …`.
fn summary(suite: &SuiteResult) -> String {
    let results = &suite.results;
    let count = results.tests.len();
    let counts = results.counts.iter();
    let counts: Vec<String> =
        counts.map(|(verdict, count)| format!("{count} {}", verdict.word())).collect();
    let plural = if count == 1 { "" } else { "s" };
    let aborted = suite.aborted.map_or(String::new(), |aborted| {
        format!("; {}, so not every test was run", wording::abort(aborted))
    });
    let list = if counts.is_empty() { "none to run".to_owned() } else { counts.join(", ") };
    let word = match results.outcome {
        SuiteOutcome::Passed => "passed",
        SuiteOutcome::Failed => "FAILED",
        SuiteOutcome::Aborted => "ABORTED",
    };
    let time = wording::duration(Duration::from_nanos(results.duration_ns));
    format!("\n{word}: {count} test{plural} in {time}: {list}{aborted}\n")
}
