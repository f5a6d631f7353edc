//! Lists of releases, suites, runs and machines.

use std::time::Duration;

use maud::{Markup, html};
use memsample_runner::results::wording::duration;

use super::ROWS;
use super::frame::{Frame, outcome, pager, size, text, time};
use crate::badge::Shade;
use crate::index::{HostRow, ReleaseRow, ReleaseVerdict, RunFilter, RunRow, SuiteRow};

/// The releases, the last one first.
pub(crate) fn releases(frame: &Frame<'_>, rows: &[ReleaseRow], page: u32) -> String {
    let body = html! {
        @if rows.is_empty() {
            p { "No run of the store is of a release. A label makes one: " code { "memsample run --label release=1.0 --push STORE" } }
            p { a href=(frame.links.to("runs", &[])) { "All runs" } }
        } @else {
            div .scroll {
                table {
                    thead { tr { th { "Release" } th { "Project" } th { "Verdict" } th .n { "Tests passed" } th .n { "Runs" } th { "Began" } th { "Compare" } } }
                    tbody {
                        @for (index, row) in rows.iter().enumerate() {
                            tr {
                                th scope="row" { a href=(frame.links.to("runs", &[("project", &row.project), ("release", &row.release)])) { (text(&row.release)) } }
                                td { (text(&row.project)) }
                                td { (verdict_mark(row)) }
                                td .n { (row.passed) " of " (row.tests) }
                                td .n { (row.runs) }
                                td .t { (time(row.started_ms)) }
                                td {
                                    @if let Some(before) = rows.iter().skip(index + 1).find(|it| it.project == row.project) {
                                        a href=(frame.links.to("compare", &[("project", &row.project), ("base", &before.release), ("head", &row.release)])) { "with " (text(&before.release)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            (pager(frame.links, "", &[], page, rows.len() as u32 == ROWS))
        }
    };
    frame.page("", "Releases", &body)
}

/// What a release is worth, in words, and how that is coloured.
pub(crate) fn verdict(row: &ReleaseRow) -> (String, Shade) {
    let failed = format!("{} of {} runs failed", row.failed, row.runs);
    match row.verdict {
        ReleaseVerdict::Passed => ("passed".to_owned(), Shade::Good),
        ReleaseVerdict::Failed => (failed, Shade::Bad),
        ReleaseVerdict::NotRun => ("closed without a run".to_owned(), Shade::Bad),
        ReleaseVerdict::Open if row.failed > 0 => (format!("open, {failed}"), Shade::Bad),
        ReleaseVerdict::Open => ("open".to_owned(), Shade::Plain),
    }
}

fn verdict_mark(row: &ReleaseRow) -> Markup {
    let (words, shade) = verdict(row);
    html! {
        @match shade {
            Shade::Good => { span .good { (words) } }
            Shade::Bad => { span .bad { (words) } }
            Shade::Plain => { (words) }
        }
    }
}

/// The suites, the one that was run last first.
pub(crate) fn suites(frame: &Frame<'_>, rows: &[SuiteRow]) -> String {
    let body = html! {
        div .scroll {
            table {
                thead { tr { th { "Suite" } th { "Project" } th .n { "Runs" } th .n { "Failed" } th { "Last run" } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { a href=(frame.links.to("suite", &[("project", &row.project), ("suite", &row.suite)])) { (text(&row.suite)) } }
                            td { (text(&row.project)) }
                            td .n { (row.runs) }
                            td .n { (row.failed) }
                            td .t { (time(row.started_ms)) }
                        }
                    }
                }
            }
        }
    };
    frame.page("suites", "Suites", &body)
}

/// A suite: its tests, and its last runs.
pub(crate) fn suite(
    frame: &Frame<'_>,
    project: &str,
    suite: &str,
    tests: &[String],
    runs: &[RunRow],
) -> String {
    let body = html! {
        h2 { "Tests" }
        ul {
            @for test in tests {
                li { a href=(frame.links.to("test", &[("project", project), ("suite", suite), ("test", test)])) { (text(test)) } }
            }
        }
        h2 { "Last runs" }
        (run_table(frame, runs))
        p { a href=(frame.links.to("runs", &[("project", project), ("suite", suite)])) { "All runs of the suite" } }
    };
    frame.page("suites", suite, &body)
}

/// Runs, the last one first.
pub(crate) fn runs(frame: &Frame<'_>, filter: &RunFilter, rows: &[RunRow], page: u32) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    let fields = [
        ("project", "Project", value(&filter.project)),
        ("suite", "Suite", value(&filter.suite)),
        ("host", "Machine", value(&filter.host)),
        ("release", "Release", value(&filter.release)),
        ("outcome", "Outcome", value(&filter.outcome)),
        ("label", "Label KEY=VALUE", value(&filter.label)),
    ];
    let query: Vec<(&str, &str)> =
        fields.iter().map(|(key, _, value)| (*key, value.as_str())).collect();
    let body = html! {
        form action=(frame.links.to("runs", &[])) {
            @for (key, name, value) in &fields {
                label { (name) input name=(key) value=(value) size="12" maxlength="500"; }
            }
            button { "Filter" }
        }
        @if rows.is_empty() { p { "There is no such run." } } @else { (run_table(frame, rows)) }
        (pager(frame.links, "runs", &query, page, rows.len() as u32 == ROWS))
    };
    frame.page("runs", "Runs", &body)
}

/// The machines, the one that was used last first.
pub(crate) fn hosts(frame: &Frame<'_>, rows: &[HostRow]) -> String {
    let body = html! {
        div .scroll {
            table {
                thead { tr { th { "Machine" } th .n { "Runs" } th .n { "Failed" } th { "Last run" } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { a href=(frame.links.to("runs", &[("host", &row.host)])) { (text(&row.host)) } }
                            td .n { (row.runs) }
                            td .n { (row.failed) }
                            td .t { (time(row.started_ms)) }
                        }
                    }
                }
            }
        }
    };
    frame.page("hosts", "Machines", &body)
}

fn run_table(frame: &Frame<'_>, rows: &[RunRow]) -> Markup {
    html! {
        div .scroll {
            table {
                thead { tr { th { "Run" } th { "Began" } th { "Suite" } th { "Machine" } th { "Release" } th { "Outcome" } th .n { "Tests passed" } th .n { "Duration" } th .n { "Size" } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { a href=(frame.links.to("run", &[("id", &row.run)])) { (text(&row.run)) } }
                            td .t { (time(row.started_ms)) }
                            td { @if row.kind == "run" { (text(&row.suite)) } @else { "(recording)" } }
                            td { (text(&row.host)) }
                            td { (row.release.as_deref().map_or("-".to_owned(), text)) }
                            td { (outcome(row.outcome.as_deref())) }
                            td .n { @if row.kind == "run" { (row.passed) " of " (row.tests) } @else { "-" } }
                            td .n { (length(row.duration_ns)) }
                            td .n { (size(Some(row.bytes))) }
                        }
                    }
                }
            }
        }
    }
}

/// A length of time in nanoseconds.
pub(super) fn length(duration_ns: Option<i64>) -> String {
    let known = duration_ns.and_then(|ns| u64::try_from(ns).ok());
    known.map_or("-".to_owned(), |ns| duration(Duration::from_nanos(ns)))
}
