//! The page.

use std::time::Duration;

use maud::{DOCTYPE, Markup, html};
use memsample_input::count;
use memsample_runner::results::SuiteOutcome;
use memsample_runner::results::wording::duration;

use super::environment::environment;
use super::interactive::{self, Interactive};
use super::machine::{self, Band, bands, machine};
use super::processes::processes;
use super::sampling::sampling;
use super::test;
use super::test_table::tests;
use crate::report::{Part, Report};
use crate::wording::{by_attention, counts, name, since};

/// Tests that are shown one by one: those that did not succeed, and the largest of the others.
const MAX_TESTS: usize = 300;
/// Notes that are shown.
const MAX_NOTES: usize = 100;

/// A page: what all reports have in common around what they show.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) summary: Markup,
    /// The ids and the headings of its sections.
    pub(super) contents: &'a [(&'a str, &'a str)],
    pub(super) main: Markup,
    /// What scripts draw in place of still pictures.
    pub(super) charts: &'a [Interactive],
}

impl Page<'_> {
    pub(super) fn draw(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content={ "memsample " (env!("CARGO_PKG_VERSION")) };
                    title { (self.title) ": memory" }
                    (interactive::style())
                }
                body {
                    header {
                        h1 { (self.title) }
                        (self.summary)
                    }
                    nav aria-label="Sections" {
                        p {
                            @for (index, (id, heading)) in self.contents.iter().enumerate() {
                                @if index > 0 { " · " }
                                a href={ "#" (id) } { (heading) }
                            }
                        }
                    }
                    main { (self.main) }
                    (interactive::scripts(self.charts))
                }
            }
        };
        page.into_string()
    }
}

/// Returns a report as one HTML file.
#[must_use]
pub fn html(report: &Report) -> String {
    let bands: Vec<Vec<Band>> =
        report.parts.iter().enumerate().map(|(index, part)| bands(report, part, index)).collect();
    let of_part = |index: usize| bands.get(index).map_or(&[][..], Vec::as_slice);
    let shown = shown_tests(report);
    let main = html! {
        @if !report.tests.is_empty() { section { h2 id="tests-heading" { "Tests" } (tests(report)) } }
        (parts(report, "machine", "The machine over time", |part, index| machine(part, index, of_part(index))))
        (parts(report, "processes", "The largest processes", |part, _| processes(part)))
        @if !report.tests.is_empty() { (each_test(report, &shown)) }
        (parts(report, "sampling", "How it was sampled", |part, _| sampling(part)))
        section { h2 id="environment" { "Environment" } (environment(report)) }
        (reading())
    };
    let of_machine = report
        .parts
        .iter()
        .zip(&bands)
        .enumerate()
        .map(|(index, (part, bands))| machine::interactive(part, index, bands));
    let of_tests = shown.iter().filter_map(|index| {
        test::interactive(report, report.tests.get(*index)?, *index, shown.len())
    });
    let charts: Vec<Interactive> = of_machine.chain(of_tests).collect();
    let page = Page {
        title: &name(&report.title, 100),
        summary: summary(report),
        contents: &contents(report),
        main,
        charts: &charts,
    };
    page.draw()
}

fn summary(report: &Report) -> Markup {
    html! {
        @if let Some(results) = &report.results {
            p {
                b {
                    @match results.outcome {
                        SuiteOutcome::Passed => "✓ passed",
                        SuiteOutcome::Failed => "✗ failed",
                        SuiteOutcome::Aborted => "✗ aborted",
                    }
                }
                ": " (count(results.tests.len() as u64, "test")) ", " (counts(results)) ", in "
                (duration(Duration::from_nanos(results.duration_ns))) "."
            }
        }
        @for part in &report.parts {
            @if let Some(peak) = &part.timeline.peak {
                p {
                    @if report.parts.len() > 1 { (name(&part.name, 60)) ": " }
                    "All processes together had at most " (super::numbers::size("machine_peak", peak.sums.rss_bytes))
                    " resident, " (since(peak.ts_ms - part.timeline.begin_ms)) " after the begin, in "
                    (count(peak.sums.processes.into(), "process")) "."
                }
            }
        }
        @let notes = notes(report);
        @if !notes.is_empty() {
            ul { @for note in notes.iter().take(MAX_NOTES) { li { (name(note, 600)) } } }
        }
        @if notes.len() > MAX_NOTES { p { "… and " (notes.len() - MAX_NOTES) " more notes, in results.json." } }
    }
}

fn notes(report: &Report) -> Vec<&String> {
    let of_run = report.results.iter().flat_map(|results| &results.notes);
    report.notes.iter().chain(of_run).collect()
}

fn contents(report: &Report) -> Vec<(&'static str, &'static str)> {
    let has_tests = !report.tests.is_empty();
    let has_parts = !report.parts.is_empty();
    let sections = [
        ("tests-heading", "Tests", has_tests),
        ("machine", "The machine over time", has_parts),
        ("processes", "The largest processes", has_parts),
        ("each-test", "Each test", has_tests),
        ("sampling", "How it was sampled", has_parts),
        ("environment", "Environment", true),
        ("reading", "What the words mean", true),
    ];
    sections.into_iter().filter(|it| it.2).map(|(id, heading, _)| (id, heading)).collect()
}

/// Shows something of each recording, with its name where there are several.
fn parts(
    report: &Report,
    id: &str,
    heading: &str,
    show: impl Fn(&Part, usize) -> Markup,
) -> Markup {
    html! {
        @if !report.parts.is_empty() {
            section {
                h2 id=(id) { (heading) }
                @for (index, part) in report.parts.iter().enumerate() {
                    @if report.parts.len() > 1 { h3 { (name(&part.name, 100)) } }
                    (show(part, index))
                }
            }
        }
    }
}

/// Returns the positions of the tests that are shown one by one.
fn shown_tests(report: &Report) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..report.tests.len()).collect();
    if shown.len() > MAX_TESTS {
        // By address: what is the same test is not told by its name alone.
        let wanted: Vec<*const _> = by_attention(&report.tests)
            .into_iter()
            .take(MAX_TESTS)
            .map(std::ptr::from_ref)
            .collect();
        let is_wanted = |index: &usize| {
            report.tests.get(*index).is_some_and(|test| wanted.contains(&std::ptr::from_ref(test)))
        };
        shown.retain(is_wanted);
    }
    shown
}

fn each_test(report: &Report, shown: &[usize]) -> Markup {
    html! {
        section {
            h2 id="each-test" { "Each test" }
            @for index in shown {
                @if let Some(one) = report.tests.get(*index) { (test::test(report, one, *index, shown.len())) }
            }
            @if report.tests.len() > shown.len() {
                p {
                    "These are the tests that did not succeed and the largest of the others; "
                    (report.tests.len() - shown.len()) " more have only their row in the table."
                }
            }
        }
    }
}

/// Explains the words.
fn reading() -> Markup {
    html! {
        section {
            h2 id="reading" { "What the words mean" }
            dl {
                dt { b { "RSS" } }
                dd { "Resident set: memory of a process that is in RAM. Pages that processes share count once for each, so that sums are too large." }
                dt { b { "PSS" } }
                dd { "Proportional set: a page that n processes share counts as 1/n for each, so that sums are right. It is dear to read, and so is not read at every tick; a sum is told only where nearly all of it was read." }
                dt { b { "peak" } }
                dd { "The largest sum at one instant, as a range where it is known within bounds. ≥ stands before a lower bound without an upper one; - for what was not measured." }
                dt { b { "role" } }
                dd { "What a process does: a script, a crate that is compiled, or a program." }
                dt { b { "pictures" } }
                dd { "Points are left out so that of each span of time the first, the last, the smallest and the largest remain: every peak is in the picture." }
            }
        }
    }
}
