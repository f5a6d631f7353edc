//! What GitHub Actions shows of a run: a summary in Markdown, and annotations.

use std::path::Path;
use std::time::Duration;

use memsample_input::printable;

use super::SuiteResult;
use super::terminal::counts;
use super::terminal::table::{cells, rows};
use crate::output::OutputTail;
use crate::results::wording;
use crate::results::{EndResults, StepResult, SuiteOutcome, Verdict};

/// Tests in the table of the summary: GitHub refuses a summary of more than 1 MiB.
const MAX_ROWS: usize = 500;
/// Tests whose output is in the summary.
const MAX_OUTPUTS: usize = 50;
/// Bytes of each stream of such a test.
const TAIL_BYTES: u64 = 4 << 10;
/// GitHub shows this many errors of a step, and drops the rest without a word.
const MAX_ANNOTATIONS: usize = 10;

/// Returns the summary of a run in Markdown, below 1 MiB.
#[must_use]
pub fn summary(suite: &SuiteResult) -> String {
    let results = &suite.results;
    let mark = match results.outcome {
        SuiteOutcome::Passed => "✅",
        SuiteOutcome::Failed | SuiteOutcome::Aborted => "❌",
    };
    let time = wording::duration(Duration::from_nanos(results.duration_ns));
    let count = results.tests.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!(
        "### {mark} {}: {}\n\n{count} test{plural} in {time}: {}\n",
        markdown(&results.suite),
        results.outcome.word(),
        counts::listed(&results.counts),
    );
    if let Some(aborted) = suite.aborted {
        text.push_str(&format!(
            "\nNot every test was run: {}.\n",
            markdown(&wording::abort(aborted))
        ));
    }
    let failed_steps: Vec<&StepResult> =
        results.steps.iter().filter(|step| step.outcome != Verdict::Passed).collect();
    for step in &failed_steps {
        text.push_str(&format!("\n{}\n", markdown(&step.sentence())));
    }
    // What wants attention comes first, and each in the order of the suite.
    let (mut rows, hidden) = rows(&results.tests, MAX_ROWS);
    rows.sort_by_key(|row| attention(row.verdict()));
    if !rows.is_empty() {
        text.push_str("\n| | Test | Outcome | Time | RSS peak | PSS peak | Why |\n");
        text.push_str("|---|---|---|---:|---:|---:|---|\n");
    }
    for row in &rows {
        let [word, name, time, rss, pss, why] = cells(row);
        let mark = mark_of(row.verdict());
        let (name, word, why) = (markdown(&name), word.replace('_', " "), markdown(&why));
        text.push_str(&format!("| {mark} | {name} | {word} | {time} | {rss} | {pss} | {why} |\n"));
    }
    if hidden > 0 {
        text.push_str(&format!("\n… and {hidden} more, in results.json\n"));
    }
    for step in failed_steps {
        let paths = [&step.stdout, &step.stderr].map(|path| path.as_deref());
        text.push_str(&outputs(suite, &format!("the {}", step.name), paths));
    }
    let failed = results.tests.iter().filter(|test| !test.ended.outcome.is_success());
    for test in failed.take(MAX_OUTPUTS) {
        let ended = &test.ended;
        let paths = [&ended.stdout, &ended.stderr].map(|path| path.as_deref().map(Path::new));
        text.push_str(&outputs(suite, &test.name, paths));
    }
    text
}

/// Returns a command of GitHub Actions for each test, and each step, that did not succeed: an error beside the line of
/// the source that its output names, or beside the suite. `suite_file` is relative to `working_directory`.
#[must_use]
pub fn annotations(suite: &SuiteResult, suite_file: &Path, working_directory: &Path) -> String {
    let results = &suite.results;
    let mut wrong: Vec<(String, Verdict, String, Option<&String>)> = Vec::new();
    for step in results.steps.iter().filter(|step| step.outcome != Verdict::Passed) {
        let name = format!("{} of the suite", step.name);
        wrong.push((name, step.outcome, step.sentence(), step.message.as_ref()));
    }
    let failed_setup = suite.aborted == Some(crate::results::Abort::Setup);
    for test in results.tests.iter().filter(|test| !test.ended.outcome.is_success()) {
        // One error says it for all that were not started for the setup.
        if !(failed_setup && test.ended.started.is_none()) {
            let ended = &test.ended;
            let message = ended.message.as_ref();
            wrong.push((test.name.clone(), ended.outcome, said(ended), message));
        }
    }
    let shown = if wrong.len() > MAX_ANNOTATIONS { MAX_ANNOTATIONS - 1 } else { wrong.len() };
    let mut text = String::new();
    for (name, verdict, said, message) in wrong.iter().take(shown) {
        let place = message.and_then(|message| place(message, working_directory));
        let (file, line) = place.unwrap_or((suite_file.display().to_string(), None));
        let line = line.map_or(String::new(), |line| format!(",line={line}"));
        let title = format!("{name}: {}", verdict.word());
        let (file, title) = (property(&file), property(&title));
        text.push_str(&format!("::error file={file}{line},title={title}::{}\n", data(said)));
    }
    if wrong.len() > shown {
        let message = format!("… and {} more: see the summary", wrong.len() - shown);
        text.push_str(&format!(
            "::error file={}::{}\n",
            property(&suite_file.display().to_string()),
            data(&message)
        ));
    }
    text
}

/// Returns the value of a property of a command, which cannot end it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Returns the message of a command, which cannot begin another.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn attention(verdict: Verdict) -> usize {
    Verdict::BY_ATTENTION.iter().position(|&other| other == verdict).unwrap_or(0)
}

fn said(ended: &EndResults) -> String {
    ended.why().unwrap_or_else(|| ended.outcome.word().to_owned())
}

/// Finds the place in a message that begins as compilers write it, `main.c:4:9: …`, or names one as a panic does. It must
/// be a file below the working directory: what a test prints is not to be believed further.
fn place(message: &str, working_directory: &Path) -> Option<(String, Option<u32>)> {
    let words = message.split_whitespace();
    words.take(8).find_map(|word| {
        let mut parts = word.split(':');
        let file = parts.next().filter(|file| !file.is_empty())?;
        let line: u32 = parts.next()?.parse().ok()?;
        let path = Path::new(file);
        let is_below =
            path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (is_below && working_directory.join(path).is_file()).then(|| (file.to_owned(), Some(line)))
    })
}

fn mark_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✅",
        Verdict::Flaky | Verdict::Skipped => "⚠️",
        _ => "❌",
    }
}

/// Returns the end of what a test or a step wrote, folded away.
fn outputs(suite: &SuiteResult, name: &str, paths: [Option<&Path>; 2]) -> String {
    let mut text = String::new();
    for path in paths.into_iter().flatten() {
        let Some(tail) = OutputTail::read(&suite.directory.join(path), TAIL_BYTES) else {
            continue;
        };
        let tail: Vec<String> =
            tail.text.trim_end().lines().map(|line| html(&printable(line))).collect();
        text.push_str(&format!(
            "\n<pre>{}\n\n{}</pre>\n",
            html(&path.display().to_string()),
            tail.join("\n")
        ));
    }
    if text.is_empty() {
        return text;
    }
    format!("\n<details><summary>{}</summary>\n{text}\n</details>\n", html(&printable(name)))
}

/// Returns a text as it is in Markdown, in one line: nothing in it is a mark, an element or the end of a cell.
fn markdown(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let mut escaped = String::with_capacity(text.len());
    for char in html(&text).chars() {
        if r"\`*_{}[]()#+-.!|~@:".contains(char) && !matches!(char, '-' | '.' | ':' | '(' | ')') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    // Neither an address nor a person is made of it.
    escaped.replace("://", ":&#8203;//").replace("\\@", "&#64;")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_told_is_a_command_or_a_mark() {
        let cases = [
            ("50% of a,b: done\n::add-mask::x\r", "50%25 of a,b: done%0A::add-mask::x%0D"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(data(text), expected);
        }
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
        let cases = [
            ("a|b", r"a\|b"),
            ("<b>&\"", "&lt;b&gt;&amp;&quot;"),
            ("[x](javascript:1) `a` *b* _c_", r"\[x\](javascript:1) \`a\` \*b\* \_c\_"),
            ("two\nlines \\", r"two lines \\"),
            ("see https://example.org, @someone", "see https:&#8203;//example.org, &#64;someone"),
        ];
        for (text, expected) in cases {
            assert_eq!(markdown(text), expected);
        }
    }

    #[test]
    fn a_place_is_a_file_below_the_working_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("main.c"), "").unwrap();
        let place = |message| place(message, directory.path());
        let found = Some(("main.c".to_owned(), Some(4)));
        assert_eq!(place("main.c:4:9: error: no"), found);
        assert_eq!(place("panicked at main.c:4:9: no"), found);
        for message in ["main.c: no", "other.c:4: no", "../main.c:4: no", "/etc/passwd:1: no", ""] {
            assert_eq!(place(message), None, "{message}");
        }
    }
}
