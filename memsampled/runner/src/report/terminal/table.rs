//! What is printed when a suite has ended.

use comfy_table::{CellAlignment, Table, presets};

use super::super::suite_result::{SuiteOutcome, SuiteResult, TestVerdict};
use super::super::{results, wording};
use super::line;
use crate::runner::{Outcome, TestMemory};

/// Rows that are printed: more cannot be read, and are in the files.
const MAX_ROWS: usize = 100;

/// Returns a table of the tests and a line that sums up, cut at `width` columns if there is a width.
///
/// Of more than a hundred tests it shows those that did not succeed first, then the largest.
#[must_use]
pub fn text(suite: &SuiteResult, color: bool, width: Option<usize>) -> String {
    let shown = shown(&suite.tests);
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
    let outcomes = std::iter::once(None).chain(shown.iter().map(|test| Some(&test.outcome)));
    if !shown.is_empty() {
        for (text_of_row, outcome) in table.lines().zip(outcomes) {
            text.push_str(&colored(&cut(&text_of_row, width), outcome.filter(|_| color)));
            text.push('\n');
        }
    }
    if shown.len() < suite.tests.len() {
        let more = suite.tests.len() - shown.len();
        text.push_str(&format!("… and {more} more, in {}\n", results::FILE));
    }
    text.push_str(&summary(suite));
    text
}

/// Returns the tests that are shown, in the order of the suite.
fn shown(tests: &[TestVerdict]) -> Vec<&TestVerdict> {
    let mut ranked: Vec<(usize, &TestVerdict)> = tests.iter().enumerate().collect();
    if ranked.len() > MAX_ROWS {
        ranked.sort_by_key(|(_, test)| {
            (test.outcome.is_success(), std::cmp::Reverse(rss_peak_bytes(test)))
        });
        ranked.truncate(MAX_ROWS);
        ranked.sort_by_key(|(position, _)| *position);
    }
    ranked.into_iter().map(|(_, test)| test).collect()
}

fn rss_peak_bytes(test: &TestVerdict) -> Option<u64> {
    let memory = |memory: &TestMemory| Some(memory.rss?.peak.lower);
    test.attempts.iter().filter_map(|attempt| memory(attempt.memory.as_ref()?)).max()
}

fn row(test: &TestVerdict) -> [String; 6] {
    let deciding = test.deciding();
    let unknown = || "-".to_owned();
    let memory = deciding.and_then(|result| result.memory.as_ref());
    let peak = |sum: Option<crate::runner::Sum>| {
        sum.map_or_else(unknown, |sum| wording::bounded(sum.peak))
    };
    let failed = test.attempts.iter().find(|attempt| !attempt.outcome.is_success());
    let why = match (&test.outcome, failed) {
        (Outcome::Flaky, Some(failed)) => Some(results::first_failure(failed)),
        _ => deciding.and_then(wording::why),
    };
    let started = deciding.filter(|result| result.started.is_some());
    [
        test.outcome.word().to_owned(),
        wording::printable(&test.name),
        started.map_or_else(unknown, |result| wording::duration(result.duration)),
        peak(memory.and_then(|memory| memory.rss)),
        peak(memory.and_then(|memory| memory.pss)),
        wording::printable(&why.unwrap_or_default()),
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
fn colored(line: &str, outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else { return line.to_owned() };
    match line.strip_prefix(outcome.word()) {
        Some(rest) => format!("{}{rest}", line::styled(outcome, 0, true)),
        None => line.to_owned(),
    }
}

/// Says how it went in one line: `failed: 6 tests in 4.123 s: 2 passed, 1 failed, …`.
fn summary(suite: &SuiteResult) -> String {
    let count = suite.tests.len();
    let counts = suite.counts();
    let counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let plural = if count == 1 { "" } else { "s" };
    let aborted = suite.aborted.map_or(String::new(), |aborted| {
        format!("; {}, so not all was run", wording::abort(aborted))
    });
    let list = if counts.is_empty() { "none to run".to_owned() } else { counts.join(", ") };
    let word = match suite.outcome() {
        SuiteOutcome::Passed => "passed",
        SuiteOutcome::Failed => "FAILED",
        SuiteOutcome::Aborted => "ABORTED",
    };
    let time = wording::duration(suite.duration);
    format!("\n{word}: {count} test{plural} in {time}: {list}{aborted}\n")
}
