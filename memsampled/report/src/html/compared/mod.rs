//! A comparison as one HTML file: what it says of each test, with both sides over each other.

mod repeats;
mod table;
mod test;

use std::collections::HashMap;

use maud::{Markup, html};
use memsample_compare::comparison::{CompareOutcome, Compared, RunSummary};
use memsample_compare::report::wording::{counts, notes};
use memsample_input::{count, printable};

use self::table::table;
use self::test::Place;
use super::anchor;
use super::interactive::Interactive;
use super::page::Page;
use crate::side_by_side::{ComparedTest, MAX_TESTS, SideBySide};
use crate::wording::{name, utc};

/// What could not be compared is listed up to this many times.
const MAX_NOT_COMPARED: usize = 200;
/// Runs of a side that are listed.
const MAX_RUNS: usize = 200;

/// Returns a comparison as one HTML file.
#[must_use]
pub fn comparison_html(sides: &SideBySide) -> String {
    let interactive = sides.tests.iter().enumerate().take(MAX_TESTS);
    let shown = sides.tests.len().min(MAX_TESTS);
    let charts: Vec<Interactive> =
        interactive.filter_map(|(index, it)| test::interactive(it, index, shown)).collect();
    let page = Page {
        title: &title(sides),
        summary: summary(sides),
        contents: &[
            ("tests-heading", "Tests"),
            ("each-test", "Each test"),
            ("runs", "Runs"),
            ("reading", "What the words mean"),
        ],
        main: main(sides),
        charts: &charts,
    };
    page.draw()
}

/// Returns what a comparison shows, without its scripts and its style, as HTML to stand in another page.
#[must_use]
pub fn comparison_parts(sides: &SideBySide) -> String {
    html! { (summary(sides)) (main(sides)) }.into_string()
}

fn main(sides: &SideBySide) -> Markup {
    let comparison = &sides.comparison;
    let labels: Vec<String> = sides.tests.iter().map(|test| label(sides, test)).collect();
    let ids: Vec<String> =
        labels.iter().enumerate().map(|(index, label)| anchor::id(label, index)).collect();
    let links: Vec<String> = ids.iter().map(|id| anchor::link(id)).collect();
    let shown = sides.tests.len().min(MAX_TESTS);
    let places: HashMap<(&str, &str), usize> = sides
        .tests
        .iter()
        .enumerate()
        .map(|(index, it)| ((it.suite.as_str(), it.test.as_str()), index))
        .collect();
    let of = |it: &Compared| {
        let index = *places.get(&(it.suite.as_str(), it.test.as_str()))?;
        let link = links.get(index).filter(|_| index < shown)?;
        Some((labels.get(index)?.clone(), link.clone()))
    };
    let runs = [&comparison.base, &comparison.head]
        .map(|runs| runs.iter().map(|run| run.run.clone()).collect::<Vec<String>>());
    let [base_runs, head_runs] = &runs;
    let each = sides.tests.iter().zip(&labels).zip(ids.iter().zip(&links)).take(shown);
    html! {
        section tabindex="0" aria-labelledby="tests-heading" { h2 id="tests-heading" { "Tests" } (table(comparison, of)) (not_compared(sides)) }
        section tabindex="0" aria-labelledby="each-test" {
            h2 id="each-test" { "Each test" }
            @for (index, ((it, label), (id, link))) in each.enumerate() {
                (test::test(it, &Place { index, tests: shown, label, id, link, runs: [base_runs, head_runs] }))
            }
            @if sides.tests.len() > shown {
                p { "These are the tests that want attention first; " (sides.tests.len() - shown) " more have only their row in the table." }
            }
        }
        section tabindex="0" aria-labelledby="runs" { h2 id="runs" { "Runs" } (listed_runs(sides)) }
        (reading(sides))
    }
}

/// Names a test; with its suite where there are several.
fn label(sides: &SideBySide, test: &ComparedTest) -> String {
    match sides.tests.iter().any(|other| other.suite != test.suite) {
        true => format!("{}: {}", test.suite, test.test),
        false => test.test.clone(),
    }
}

fn title(sides: &SideBySide) -> String {
    let of = |runs: &[RunSummary]| match runs {
        [run] => name(run.run.trim_end_matches('/').rsplit('/').next().unwrap_or(&run.run), 60),
        runs => count(runs.len() as u64, "run"),
    };
    format!("{} → {}", of(&sides.comparison.base), of(&sides.comparison.head))
}

fn summary(sides: &SideBySide) -> Markup {
    let comparison = &sides.comparison;
    html! {
        p {
            b {
                @match comparison.outcome {
                    CompareOutcome::NotWorse => "✓ nothing is known to have got worse",
                    CompareOutcome::Worse => "✗ something got worse",
                    CompareOutcome::Suspects => "? something is suspect: more repeats would tell",
                }
            }
            ": " (counts(comparison)) "."
        }
        @if !comparison.fail_on.is_empty() {
            p { "What counts as worse: " (name(&comparison.fail_on.join(", "), 400)) "." }
        }
        @let notes: Vec<String> = notes(comparison).into_iter().chain(sides.notes.iter().cloned()).collect();
        @if !notes.is_empty() { ul { @for note in &notes { li { (name(note, 600)) } } } }
    }
}

fn not_compared(sides: &SideBySide) -> Markup {
    let missing = &sides.comparison.not_compared;
    if missing.is_empty() {
        return html! {};
    }
    html! {
        h3 { "Not compared" }
        ul {
            @for it in missing.iter().take(MAX_NOT_COMPARED) {
                li {
                    (name(&it.test, 100)) @if let Some(role) = &it.role { ", role " (name(role, 60)) } ", " (it.quantity) ": "
                    (printable(&it.reason))
                }
            }
        }
        @if missing.len() > MAX_NOT_COMPARED { p { "… and " (missing.len() - MAX_NOT_COMPARED) " more." } }
    }
}

fn listed_runs(sides: &SideBySide) -> Markup {
    let comparison = &sides.comparison;
    html! {
        table border="0" cellpadding="4" rules="rows" {
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Side" }
                th scope="col" align="left" valign="bottom" { "Run" }
                th scope="col" align="left" valign="bottom" { "Suite" }
                th scope="col" align="left" valign="bottom" { "Began" }
                th scope="col" align="left" valign="bottom" { "Commit" }
                th scope="col" align="left" valign="bottom" { "Tests" }
            } }
            tbody {
                @for (side, runs) in [("base", &comparison.base), ("head", &comparison.head)] {
                    @for run in runs.iter().take(MAX_RUNS) {
                        tr {
                            th scope="row" align="left" { (side) }
                            td { (name(&run.run, 100)) }
                            td { (name(&run.suite, 60)) }
                            td nowrap { @match run.started { Some(at) => (utc(at.as_millisecond())), None => "-" } }
                            td { @match &run.commit { Some(commit) => (name(commit, 40)), None => "-" } }
                            td { @if run.only_suspects { "only suspects" } @else { "all" } }
                        }
                    }
                    @if runs.len() > MAX_RUNS { tr { td colspan="6" { "… and " (runs.len() - MAX_RUNS) " more" } } }
                }
            }
        }
    }
}

/// Explains the words.
fn reading(sides: &SideBySide) -> Markup {
    html! {
        section tabindex="0" aria-labelledby="reading" {
            h2 id="reading" { "What the words mean" }
            dl {
                dt { b { "worse, better" } }
                dd { "A change beyond noise: levels over all comparisons and looks add up to 5 % of suites." }
                dt { b { "same" } }
                dd { "The interval of the change is within " (format!("{:.1} %", sides.comparison.margin_percent)) ", the margin." }
                dt { b { "suspect, cannot tell" } }
                dd { "Neither a change nor its absence is known. A suspect is decided by more repeats; the note says how many would tell." }
                dt { b { "base, head" } }
                dd { "The median of the lower bounds of the repeats. In the picture of the repeats a line leads from each lower bound to its upper one; in their table ≥ stands before one without." }
                dt { b { "change, interval" } }
                dd { "The estimate of Hodges and Lehmann, in percent of the base, with an interval of at least 95 % where there are five repeats a side. ~ stands before a change where the bounds of base and head overlap: it is one of what was sampled." }
                dt { b { "RSS, PSS" } }
                dd { "Resident set: memory of a process that is in RAM; pages that processes share count once for each. Proportional set: a page that n processes share counts as 1/n for each." }
            }
        }
    }
}
