//! Lines about single attempts.

use std::path::Path;

use anstyle::{AnsiColor, Style};

use memsample_input::{printable, rounded_size};

use crate::report::output_tail::OutputTail;
use crate::results::wording;
use crate::results::{Attempt, TestResult, Verdict};

/// The longest word for an outcome, `host_out_of_memory`.
const WORD_WIDTH: usize = 18;
/// Lines of a failed test's output that are shown.
const OUTPUT_LINES: usize = 10;
/// Characters of such a line.
const OUTPUT_CHARS: usize = 200;
/// Bytes in which they are looked for.
const OUTPUT_BYTES: u64 = 4096;

/// Describes how an attempt ended: `failed   0.012 s  name: exit code 1`.
pub(super) fn finished(result: &TestResult, color: bool) -> String {
    let word = styled(result.outcome.verdict(), WORD_WIDTH, color);
    let time = match result.started {
        Some(_) => wording::duration(result.duration),
        None => "-".to_owned(),
    };
    let label = wording::label(&result.test);
    let why = wording::why(result);
    let why = why.map_or(String::new(), |why| format!(": {}", printable(&why)));
    let mut line = format!("{word}  {time:>9}  {label}{why}");
    for note in &result.notes {
        line.push_str(&format!("\n{:WORD_WIDTH$}  {:9}  note: {}", "", "", printable(note)));
    }
    line
}

/// Says that an attempt still runs.
pub(super) fn running(test: &Attempt, seconds: u64, rss_bytes: u64) -> String {
    let time = wording::duration(std::time::Duration::from_secs(seconds));
    let (label, size) = (wording::label(test), rounded_size(rss_bytes));
    format!("{:>WORD_WIDTH$}  {time:>9}  {label}: RSS {size} now", "running")
}

/// Returns the last lines that a test wrote which did not succeed, and where all are.
pub(super) fn output(result: &TestResult, directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    if result.outcome.is_success() || result.started.is_none() {
        return lines;
    }
    for path in [&result.stdout, &result.stderr].into_iter().flatten() {
        let Some(tail) = OutputTail::read(&directory.join(path), OUTPUT_BYTES) else { continue };
        let text: Vec<&str> = tail.text.trim_end().lines().collect();
        let (more, last) = match text.len().checked_sub(OUTPUT_LINES) {
            Some(first) if first > 0 => (true, text.get(first..).unwrap_or_default()),
            _ => (tail.before_bytes > 0, text.as_slice()),
        };
        lines.push(format!("    {}{}", if more { "… " } else { "" }, path.display()));
        for line in last {
            let cut: String = line.chars().take(OUTPUT_CHARS).collect();
            let cut = printable(&cut.replace('\t', "    "));
            let more = if line.chars().nth(OUTPUT_CHARS).is_some() { "…" } else { "" };
            lines.push(format!("    | {cut}{more}"));
        }
    }
    if let Some(kept) = &result.kept {
        lines.push(format!("    {} has what it wrote", kept.display()));
    }
    lines
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
