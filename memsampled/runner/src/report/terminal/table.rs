//! What is printed when a suite has ended.

use std::cmp::Reverse;
use std::time::Duration;

use memsample_input::table::{self, align_right, plain_table};
use memsample_input::{printable, rounded_size};

use super::counts;
use super::fold::{Line, columns, fold, shortened};
use super::line::MIN_TOGETHER;
use super::{line, repeated, without_commands};
use crate::report::collector::SuiteResult;
use crate::results::wording;
use crate::results::{AttemptResults, BoundedBytes, FILE, SuiteOutcome, TestResults, Verdict};

/// Rows that are printed: more cannot be read, and are in the files.
const MAX_ROWS: usize = 100;
/// Tests whose memory is told where their outcomes were told before.
const MAX_LARGEST: usize = 10;
/// Columns that are kept of a name that is shortened.
const MIN_NAME: usize = 12;
/// How far reasons are indented below their test.
const INDENT: usize = 4;

/// Says what the sign before a size means.
const LEGEND: &str = "≥: at least; no upper bound is known, for the reason see junit.xml";

/// One row: a test, or several.
pub(crate) enum Row<'a> {
    Test(&'a TestResults),
    /// Tests that were not run, for one reason.
    NotRun {
        verdict: Verdict,
        count: usize,
        reason: &'a str,
    },
}

/// Returns a table of the tests and a line that sums up.
///
/// Within `width` columns, if there is a width: reasons that do not fit beside their tests are below them. Of more than
/// a hundred tests it shows those that did not succeed first, then the largest.
#[must_use]
pub fn text(suite: &SuiteResult, color: bool, width: Option<usize>) -> String {
    let (rows, hidden) = rows(&suite.results.tests, MAX_ROWS);
    let mut text = String::new();
    if !rows.is_empty() {
        let beside = lines(&rows, &Layout { with_why: true, name_columns: usize::MAX });
        let fits = |lines: &[String], width| lines.iter().all(|line| columns(line) <= width);
        match width {
            Some(width) if !fits(&beside, width) => text.push_str(&below(&rows, color, width)),
            _ => push(&mut text, &rows, &beside, color, |_| Vec::new()),
        }
    }
    if hidden > 0 {
        text.push_str(&format!("… and {hidden} more, in {FILE}\n"));
    }
    text.push_str(&under_the_table(&suite.results.tests));
    text.push_str(&summary(suite, width));
    without_commands(&text)
}

/// Returns the tests that ran several times, and what the signs above mean.
fn under_the_table(tests: &[TestResults]) -> String {
    let mut text = repeated::text(tests);
    let has_lower_bound = |test: &TestResults| {
        let rss = test.ended.memory.as_ref().and_then(|memory| memory.rss_peak());
        rss.is_some_and(|rss| rss.upper.is_none())
    };
    if tests.iter().any(has_lower_bound) {
        text.push_str(LEGEND);
        text.push('\n');
    }
    text
}

/// Returns the largest tests and a line that sums up, where a log has told the outcome of each test before.
#[must_use]
pub fn largest(suite: &SuiteResult) -> String {
    let tests = suite.results.tests.iter();
    let mut tests: Vec<&TestResults> = tests.filter(|it| it.rss_peak_bytes().is_some()).collect();
    tests.sort_by_key(|test| Reverse(test.rss_peak_bytes()));
    tests.truncate(MAX_LARGEST);
    let mut text = String::new();
    if !tests.is_empty() {
        let mut table = plain_table();
        table.set_header(["RSS PEAK", "PSS PEAK", "TIME", "LARGEST TESTS"]);
        for test in tests {
            let [_, name, time, rss, pss, _] = cells(&Row::Test(test));
            table.add_row([rss, pss, time, name]);
        }
        align_right(&mut table, |index| index < 3);
        text.push('\n');
        text.push_str(&table::lines(&table));
    }
    text.push_str(&under_the_table(&suite.results.tests));
    text.push_str(&summary(suite, None));
    without_commands(&text)
}

/// Returns the rows that are shown, in the order of the suite, and how many tests are not.
pub(crate) fn rows(tests: &[TestResults], max_rows: usize) -> (Vec<Row<'_>>, usize) {
    type Key<'a> = Option<(Verdict, &'a str)>;
    let mut groups: Vec<(Key<'_>, Vec<&TestResults>)> = Vec::new();
    for test in tests {
        let ended = &test.ended;
        let key = ended.reason.as_deref().filter(|_| ended.started.is_none());
        let key = key.map(|reason| (ended.outcome, reason));
        let same = key.and_then(|_| groups.iter_mut().find(|(other, _)| *other == key));
        match same {
            Some((_, group)) => group.push(test),
            None => groups.push((key, vec![test])),
        }
    }
    let mut rows: Vec<(usize, Row<'_>)> = Vec::new();
    for (key, group) in groups {
        match key {
            Some((verdict, reason)) if group.len() >= MIN_TOGETHER => {
                rows.push((rows.len(), Row::NotRun { verdict, count: group.len(), reason }));
            }
            _ => rows.extend(group.into_iter().map(|test| (0, Row::Test(test)))),
        }
    }
    rows.iter_mut().enumerate().for_each(|(index, row)| row.0 = index);
    let mut hidden = 0;
    if rows.len() > max_rows {
        rows.sort_by_key(|(_, row)| match row {
            Row::Test(test) => (test.ended.outcome.is_success(), Reverse(test.rss_peak_bytes())),
            Row::NotRun { .. } => (false, Reverse(None)),
        });
        hidden = rows.drain(max_rows..).map(|(_, row)| row.tests()).sum();
        rows.sort_by_key(|(position, _)| *position);
    }
    (rows.into_iter().map(|(_, row)| row).collect(), hidden)
}

impl Row<'_> {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Test(test) => test.ended.outcome,
            Self::NotRun { verdict, .. } => *verdict,
        }
    }

    fn tests(&self) -> usize {
        match self {
            Self::Test(_) => 1,
            Self::NotRun { count, .. } => *count,
        }
    }
}

/// How a table is laid out.
struct Layout {
    with_why: bool,
    /// Columns of a name, at most.
    name_columns: usize,
}

/// Returns the lines of a table, the first of them its head.
fn lines(rows: &[Row<'_>], layout: &Layout) -> Vec<String> {
    let mut table = plain_table();
    let shown = if layout.with_why { 6 } else { 5 };
    let head = ["OUTCOME", "TEST", "TIME", "RSS PEAK", "PSS PEAK", "WHY"];
    table.set_header(head.into_iter().take(shown));
    for row in rows {
        let mut cells = cells(row);
        cells[1] = shortened(&cells[1], layout.name_columns);
        table.add_row(cells.into_iter().take(shown));
    }
    align_right(&mut table, |index| matches!(index, 2..=4));
    table::lines(&table).lines().map(str::to_owned).collect()
}

/// Returns the table with the reasons below their tests.
fn below(rows: &[Row<'_>], color: bool, width: usize) -> String {
    let mut name_columns = usize::MAX;
    let mut table = lines(rows, &Layout { with_why: false, name_columns });
    let wide = table.iter().map(|line| columns(line)).max().unwrap_or(0);
    if wide > width {
        let longest = rows.iter().map(|row| columns(&cells(row)[1])).max().unwrap_or(0);
        name_columns = longest.saturating_sub(wide - width).max(MIN_NAME);
        table = lines(rows, &Layout { with_why: false, name_columns });
    }
    let table: Vec<String> = table.iter().map(|line| cut(line, width)).collect();
    let mut text = String::new();
    push(&mut text, rows, &table, color, |row| {
        let [_, name, .., why] = cells(row);
        let mut under = Vec::new();
        // What was cut above is told whole.
        if columns(&name) > name_columns {
            under.push(name);
        }
        under.extend(Some(why).filter(|why| !why.is_empty()));
        let indented = under.into_iter().map(|text| format!("{:INDENT$}{text}", ""));
        indented.flat_map(|text| fold(&Line::hanging(text, INDENT), width)).collect()
    });
    text
}

/// Adds lines with their outcomes coloured, and after each what belongs below it.
fn push(
    text: &mut String,
    rows: &[Row<'_>],
    lines: &[String],
    color: bool,
    below: impl Fn(&Row<'_>) -> Vec<String>,
) {
    let rows = std::iter::once(None).chain(rows.iter().map(Some));
    for (line, row) in lines.iter().zip(rows) {
        text.push_str(&colored(line, row.map(Row::verdict).filter(|_| color)));
        text.push('\n');
        for line in row.map(&below).unwrap_or_default() {
            text.push_str(&line);
            text.push('\n');
        }
    }
}

/// Returns what stands in the columns: outcome, name, time, peaks and reason, without control characters.
pub(crate) fn cells(row: &Row<'_>) -> [String; 6] {
    let unknown = || "-".to_owned();
    let test = match row {
        Row::Test(test) => test,
        Row::NotRun { verdict, count, reason } => {
            let word = verdict.word().to_owned();
            return [
                word,
                format!("({count} tests)"),
                unknown(),
                unknown(),
                unknown(),
                printable(reason),
            ];
        }
    };
    let ended = &test.ended;
    let memory = ended.memory.as_ref();
    let peak = |peak: Option<BoundedBytes>| peak.map_or_else(unknown, wording::bounded);
    let failed = test.attempts.iter().find(|attempt| !attempt.ended.outcome.is_success());
    let why = match (ended.outcome, failed) {
        (Verdict::Flaky, Some(failed)) => Some(AttemptResults::failure(failed)),
        _ => ended.why(),
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
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Colours the outcome, with which a row begins.
fn colored(line: &str, verdict: Option<Verdict>) -> String {
    let Some(verdict) = verdict else { return line.to_owned() };
    match line.strip_prefix(verdict.word()) {
        Some(rest) => format!("{}{rest}", line::styled(verdict, 0, true)),
        None => line.to_owned(),
    }
}

/// Describes how it went in one line: `failed: 6 tests in 4.123 s: 1 failed, 1 flaky, 4 passed`.
fn summary(suite: &SuiteResult, width: Option<usize>) -> String {
    let results = &suite.results;
    let count = results.tests.len();
    let counts = counts::listed(&results.counts);
    let plural = if count == 1 { "" } else { "s" };
    let aborted = suite.aborted.map_or(String::new(), |aborted| {
        format!("; {}, so not every test was run", wording::abort(aborted))
    });
    let list = if counts.is_empty() { "none to run".to_owned() } else { counts };
    let word = match results.outcome {
        SuiteOutcome::Passed => "passed",
        SuiteOutcome::Failed => "FAILED",
        SuiteOutcome::Aborted => "ABORTED",
    };
    let time = wording::duration(Duration::from_nanos(results.duration_ns));
    let text = format!("{word}: {count} test{plural} in {time}: {list}{aborted}");
    let lines = match width {
        Some(width) => fold(&Line::hanging(text, INDENT), width).join("\n"),
        None => text,
    };
    format!("\n{lines}\n")
}
