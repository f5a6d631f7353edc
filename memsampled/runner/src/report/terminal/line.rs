//! Lines about single attempts.

use std::path::{Path, PathBuf};

use super::fold::Line;
use anstyle::{AnsiColor, Style};

use memsample_input::{printable, rounded_size};

use crate::output::OutputTail;
use crate::results::wording;
use crate::results::{StepResult, TestResult, Verdict};

/// The longest word for an outcome, `host_out_of_memory`.
const WORD_WIDTH: usize = 18;
/// Tests that were not run for the same reason are told together from here on.
pub(super) const MIN_TOGETHER: usize = 3;
/// Where the name of a test begins: after the word and the time.
const LABEL_COLUMN: usize = WORD_WIDTH + 2 + 9 + 2;
/// Describes how an attempt ended: `failed   0.012 s  name: exit code 1`.
pub(super) fn finished(result: &TestResult, is_retried: bool, color: bool) -> Vec<Line> {
    let word = styled(result.outcome.verdict(), WORD_WIDTH, color);
    let time = match result.started {
        Some(_) => wording::duration(result.duration),
        None => "-".to_owned(),
    };
    let label = wording::label(&result.test);
    let why = wording::joined(wording::why(result).as_deref(), result.message.as_deref());
    let why = why.map_or(String::new(), |why| format!(": {}", printable(&why)));
    let again = if is_retried { " (it is tried again)" } else { "" };
    let text = format!("{word}  {time:>9}  {label}{why}{again}");
    let mut lines = vec![Line::hanging(text, LABEL_COLUMN)];
    let unmapped = result.group.as_ref().and_then(wording::unmapped);
    for note in result.notes.iter().chain(&unmapped) {
        let note = format!("{:LABEL_COLUMN$}note: {}", "", printable(note));
        lines.push(Line::hanging(note, LABEL_COLUMN));
    }
    lines
}

/// Describes how a step of the suite ended that did not succeed, with the last lines that it wrote.
pub(super) fn step(step: &StepResult, directory: &Path, color: bool) -> Vec<Line> {
    if step.outcome == Verdict::Passed {
        return Vec::new();
    }
    let word = styled(step.outcome, WORD_WIDTH, color);
    let time = step.duration_ns.map_or("-".to_owned(), |nanoseconds| {
        wording::duration(std::time::Duration::from_nanos(nanoseconds))
    });
    let why = wording::joined(step.reason.as_deref(), step.message.as_deref());
    let why = why.map_or(String::new(), |why| format!(": {}", printable(&why)));
    let text = format!("{word}  {time:>9}  the {} of the suite{why}", step.name);
    let mut lines = vec![Line::hanging(text, LABEL_COLUMN)];
    lines.extend(last_lines([&step.stdout, &step.stderr], directory));
    lines
}

/// Says of tests that are not run that they are not, and why: in one line, unless they are few.
pub(super) fn rest(results: &[TestResult], color: bool) -> Vec<Line> {
    let [first, ..] = results else { return Vec::new() };
    if results.len() < MIN_TOGETHER {
        return results.iter().flat_map(|result| finished(result, false, color)).collect();
    }
    let word = styled(first.outcome.verdict(), WORD_WIDTH, color);
    let why = wording::why(first).map_or(String::new(), |why| format!(": {}", printable(&why)));
    let text = format!("{word}  {:>9}  {} tests{why}", "-", results.len());
    vec![Line::hanging(text, LABEL_COLUMN)]
}

/// Says that an attempt, a setup or a teardown still runs.
pub(super) fn running(what: &str, seconds: u64, rss_bytes: u64) -> Line {
    let time = wording::duration(std::time::Duration::from_secs(seconds));
    let size = rounded_size(rss_bytes);
    let text = format!("{:>WORD_WIDTH$}  {time:>9}  {what}: RSS {size} now", "running");
    Line::hanging(text, LABEL_COLUMN)
}

/// Returns the last lines that a test wrote which did not succeed, and where all are.
pub(super) fn output(result: &TestResult, directory: &Path) -> Vec<Line> {
    if result.outcome.is_success() {
        return Vec::new();
    }
    let mut lines = last_lines([&result.stdout, &result.stderr], directory);
    if let Some(kept) = &result.kept {
        lines.push(Line::hanging(format!("    {} has what it wrote", kept.display()), 6));
    }
    lines
}

/// Returns the last lines of two streams, which name their files by the paths that a person can open.
fn last_lines(streams: [&Option<PathBuf>; 2], directory: &Path) -> Vec<Line> {
    let streams = streams.into_iter().flatten();
    let lines = streams.flat_map(|path| {
        OutputTail::last_lines(&directory.join(path), &path.display().to_string())
    });
    lines.map(|text| Line { text, hang: "    | ".to_owned() }).collect()
}

/// Returns the word for an outcome, filled up to a width, in its colour.
pub(super) fn styled(verdict: Verdict, width: usize, color: bool) -> String {
    let word = verdict.word();
    if !color {
        return format!("{word:>width$}");
    }
    let style = style(verdict);
    format!("{style}{word:>width$}{style:#}")
}

/// Green is well, yellow is worth a look, red is not well.
pub(super) fn style(verdict: Verdict) -> Style {
    let color = match verdict {
        Verdict::Passed => AnsiColor::Green,
        Verdict::Flaky | Verdict::Skipped => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    color.on_default()
}
