//! A run: what became of each test, and where its report is.

use std::collections::BTreeMap;

use maud::html;

use super::frame::{Frame, outcome, size, text, time};
use super::lists::length;
use crate::index::{RunRow, TestOfRun};

/// A run, and its tests.
pub(crate) fn run(frame: &Frame<'_>, run: &RunRow, tests: &[TestOfRun]) -> String {
    let labels: BTreeMap<String, String> = serde_json::from_str(&run.labels).unwrap_or_default();
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let unknown = || "not known".to_owned();
    let body = html! {
        dl {
            dt { "Outcome" } dd { (outcome(run.outcome.as_deref())) @if run.kind == "run" { ", " (run.passed) " of " (run.tests) " tests passed" } }
            dt { "Began" } dd {
                @match run.told_started_ms {
                    Some(told) => {
                        "before " (time(run.started_ms)) ", when it arrived; the clock of its machine was wrong and said "
                        (time(told))
                    }
                    None => (time(run.started_ms)),
                }
                ", took " (length(run.duration_ns))
            }
            dt { "Suite" } dd { @if run.kind == "run" { a href=(frame.links.to("suite", &[("project", &run.project), ("suite", &run.suite)])) { (text(&run.suite)) } } @else { "none: a recording" } }
            dt { "Project" } dd { (text(&run.project)) }
            dt { "Release" } dd { @match &run.release { Some(release) => { a href=(frame.links.to("runs", &[("project", &run.project), ("release", release)])) { (text(release)) } } None => "none" } }
            dt { "Machine" } dd {
                a href=(frame.links.to("runs", &[("host", &run.host)])) { (text(&run.host)) }
                ", kernel " (run.kernel.as_deref().map_or_else(unknown, text))
                @if let Some(cpus) = run.cpus { ", " (cpus) " CPUs" }
                @if run.memory_bytes.is_some() { ", " (size(run.memory_bytes)) }
            }
            dt { "Commit" } dd { (run.commit.as_deref().map_or_else(unknown, text)) }
            @if !labels.is_empty() { dt { "Labels" } dd { (text(&labels.join(", "))) } }
            dt { "Run" } dd { code { (text(&run.run)) } ", " (size(Some(run.bytes))) }
        }
        p { a href=(frame.links.to("report", &[("id", &run.run)])) { "The whole report: memory over time, roles, sampling" } }
        @if !tests.is_empty() {
            div .scroll {
                table {
                    caption { "Tests" }
                    thead { tr { th { "Test" } th { "Outcome" } th .n { "Attempts" } th .n { "RSS peak, at least" } th .n { "at most" } th .n { "PSS peak, at least" } th .n { "Duration" } } }
                    tbody {
                        @for test in tests {
                            @let last = test.attempts.last();
                            @let largest = test.attempts.iter().max_by_key(|it| it.rss_peak_bytes);
                            tr {
                                th scope="row" { a href=(frame.links.to("test", &[("project", &run.project), ("suite", &run.suite), ("test", &test.test)])) { (text(&test.test)) } }
                                td { (outcome(last.map(|it| it.outcome.as_str()))) }
                                td .n { (test.attempts.len()) }
                                td .n { (size(largest.and_then(|it| it.rss_peak_bytes))) }
                                td .n { (size(largest.and_then(|it| it.rss_peak_bytes_upper))) }
                                td .n { (size(test.attempts.iter().filter_map(|it| it.pss_peak_bytes).max())) }
                                td .n { (length(last.and_then(|it| it.duration_ns))) }
                            }
                        }
                    }
                }
            }
            p { "Memory is that of the attempt with the largest peak; the outcome is that of the last one. A dash is what was not measured." }
        }
    };
    frame.page("runs", &run.name_of_page(), &body)
}

impl RunRow {
    fn name_of_page(&self) -> String {
        format!("Run {}", self.run)
    }
}
