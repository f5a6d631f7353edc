//! A trend as text for a terminal, and as Markdown.

use std::fmt::Write as _;

use memsample_input::table::{align_right, lines, plain_table};
use memsample_input::{column_block, cut, folded, markdown_escaped, printable, rounded_size};

use super::wording::probability;
use crate::trend::{MIN_RELEASES, TestTrend, Trend, TrendChange};

/// Tests up to which those that did not change are listed too.
const MAX_ROWS: usize = 40;
/// Releases that a curve shows: the last ones.
const MAX_CURVE: usize = 24;
/// Changes that a line names: the last ones.
const MAX_CHANGES: usize = 2;
/// The columns of all but the name, the curve and the changes.
const OTHER_COLUMNS: usize = 16;
/// The least columns of the changes.
const MIN_CHANGES: usize = 28;
/// The height of a curve is at least this share of its largest value, so that noise does not look like growth.
const MIN_RANGE: f64 = 0.1;

/// Returns a trend as text of `width` columns; `with_all` lists every test.
#[must_use]
pub fn trend_text(trend: &Trend, width: usize, with_all: bool, utf8: bool) -> String {
    let is_short = trend.tests.len() <= MAX_ROWS;
    let shown: Vec<&TestTrend> = trend
        .tests
        .iter()
        .filter(|test| with_all || is_short || !test.changes.is_empty())
        .collect();
    let curve = trend.releases.len().min(MAX_CURVE);
    let room = width.saturating_sub(OTHER_COLUMNS + curve);
    let names = shown.iter().map(|test| name(trend, test).chars().count()).max().unwrap_or(0);
    let name_width = names.min(room.saturating_sub(MIN_CHANGES).max(12));
    let mut table = plain_table();
    table.set_header(["TEST", "RELEASES", "LAST", "CHANGES"]);
    for test in &shown {
        let last = test.points.iter().rev().flatten().next();
        table.add_row([
            cut(&name(trend, test), name_width),
            drawn(test, curve, utf8),
            last.map_or_else(|| "-".to_owned(), |point| rounded_size(point.bytes)),
            cut(&changes(test), room.saturating_sub(name_width)),
        ]);
    }
    align_right(&mut table, |column| column == 2);
    let mut text = lines(&table);
    // Writing to a string cannot fail.
    let hidden = trend.tests.len() - shown.len();
    if hidden > 0 {
        let _ = writeln!(text, "{hidden} more that did not change: --all lists them");
    }
    for note in notes(trend) {
        let _ = writeln!(text, "{}", folded(&format!("note: {note}"), Some(width)));
    }
    let _ = writeln!(text, "{}", folded(&counts(trend), Some(width)));
    text
}

/// Returns a trend as a table of the tests that changed.
#[must_use]
pub fn trend_markdown(trend: &Trend) -> String {
    let mut text = format!("### Memory over {} releases\n\n", trend.releases.len());
    let changed: Vec<&TestTrend> =
        trend.tests.iter().filter(|test| !test.changes.is_empty()).collect();
    if !changed.is_empty() {
        text.push_str(
            "| test | from release | before | after | change | p |\n|---|---|--:|--:|--:|--:|\n",
        );
    }
    for test in changed {
        for change in &test.changes {
            let _ = writeln!(
                text,
                "| {} | {}{} | {} | {} | {:+.1} % | {} |",
                markdown_escaped(&name(trend, test)),
                markdown_escaped(&printable(&change.release)),
                if change.environment_changed { " (other environment)" } else { "" },
                rounded_size(change.before_bytes),
                rounded_size(change.after_bytes),
                change.change_percent,
                probability(change.p),
            );
        }
    }
    for note in notes(trend) {
        let _ = writeln!(text, "\n{}", markdown_escaped(&note));
    }
    let _ = writeln!(text, "\n{}", counts(trend));
    text
}

fn name(trend: &Trend, test: &TestTrend) -> String {
    let mut name = match trend.tests.iter().any(|other| other.suite != test.suite) {
        true => format!("{}: {}", test.suite, test.test),
        false => test.test.clone(),
    };
    if let Some(role) = &test.role {
        name.push_str(&format!(", role {role}"));
    }
    if trend.tests.iter().any(|other| other.quantity != test.quantity) {
        name.push_str(&format!(", {}", test.quantity));
    }
    printable(&name)
}

/// Draws the medians of the last releases; one that has none is a space.
fn drawn(test: &TestTrend, curve: usize, utf8: bool) -> String {
    let first = test.points.len().saturating_sub(curve);
    let points = test.points.get(first..).unwrap_or_default();
    let known = || points.iter().flatten().map(|point| point.bytes as f64);
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
    let range = (high - low).max(high * MIN_RANGE).max(1.0);
    let lowest = (low + high - range) / 2.0;
    let character = |point: &Option<_>| match point {
        None => ' ',
        Some(crate::trend::TrendPoint { bytes, .. }) => {
            column_block((*bytes as f64 - lowest) / range, utf8)
        }
    };
    points.iter().map(character).collect()
}

fn changes(test: &TestTrend) -> String {
    let named = |change: &TrendChange| {
        let mark = if change.environment_changed { "*" } else { "" };
        format!("{:+.1} % at {}{mark}", change.change_percent, printable(&change.release))
    };
    let last: Vec<String> = test.changes.iter().rev().take(MAX_CHANGES).map(named).collect();
    let more = test.changes.len().saturating_sub(MAX_CHANGES);
    match (last.is_empty(), more) {
        (true, _) => "-".to_owned(),
        (_, 0) => last.join(", "),
        (_, more) => format!("{}, {more} before", last.join(", ")),
    }
}

fn notes(trend: &Trend) -> Vec<String> {
    let mut notes = Vec::new();
    let short =
        trend.tests.iter().filter(|test| test.points.iter().flatten().count() < MIN_RELEASES);
    let short = short.count();
    if short > 0 {
        notes.push(format!(
            "{short} of {} with fewer than {MIN_RELEASES} releases, in which no change is looked for",
            trend.tests.len()
        ));
    }
    for release in trend.releases.iter().filter(|release| !release.different.is_empty()) {
        notes.push(format!(
            "* another environment from {} on: {}",
            printable(&release.name),
            printable(&release.different.join("; "))
        ));
    }
    notes
}

fn counts(trend: &Trend) -> String {
    let changed = trend.tests.iter().filter(|test| !test.changes.is_empty()).count();
    format!(
        "{changed} of {} changed over {} releases, by 1 % or more and p < 0.001 at the place of the change",
        trend.tests.len(),
        trend.releases.len()
    )
}
