//! What all pages have in common.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use memsample_input::{count, printable, rounded_size, shortened};

use crate::link::Links;
use crate::refresh::Progress;

/// What a page needs to know to be drawn.
pub(crate) struct Frame<'a> {
    pub(crate) links: &'a Links,
    /// The store, for people.
    pub(crate) store: String,
    /// How far the index is.
    pub(crate) progress: Progress,
    /// Runs that are left out, since they cannot be read.
    pub(crate) damaged: u64,
}

/// The pages that each page leads to.
const SECTIONS: [(&str, &str); 7] = [
    ("", "Releases"),
    ("worse", "Worse"),
    ("suites", "Suites"),
    ("runs", "Runs"),
    ("hosts", "Machines"),
    ("live", "Live"),
    ("fleet", "Fleet"),
];

impl Frame<'_> {
    /// Returns a whole page.
    pub(crate) fn page(&self, section: &str, title: &str, body: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (text(title)) " · memsample" }
                    link rel="stylesheet" href=(self.links.to("style.css", &[("v", env!("CARGO_PKG_VERSION"))]));
                    link rel="icon" href="data:,";
                    link rel="alternate" type="application/atom+xml" title="What got worse" href=(self.links.to("feed.atom", &[]));
                    script defer src=(self.links.to("script.js", &[("v", env!("CARGO_PKG_VERSION"))])) {}
                    @if matches!(section, "live" | "fleet") { noscript { meta http-equiv="refresh" content="5"; } }
                }
                body {
                    header {
                        b { "memsample" }
                        nav aria-label="Pages" {
                            @for (page, name) in SECTIONS {
                                @if page == section {
                                    a href=(self.links.to(page, &[])) aria-current="page" { (name) }
                                } @else {
                                    a href=(self.links.to(page, &[])) { (name) }
                                }
                            }
                        }
                        form action=(self.links.to("search", &[])) role="search" data-names=(self.links.to("api/v1/search", &[])) {
                            input type="search" name="q" aria-label="Search tests, roles, machines, suites and releases" placeholder="test, role, machine…" maxlength="200";
                            button { "Search" }
                        }
                    }
                    main { h1 { (text(title)) } (self.state()) (body) }
                    footer {
                        (text(&self.store)) ", compared " (self.compared()) "."
                        @if self.damaged > 0 {
                            " " (count(self.damaged, "run")) " left out, which cannot be read: "
                            a href=(self.links.to("api/v1/status", &[])) { "why" } "."
                        }
                    }
                }
            }
        };
        page.into_string()
    }

    fn compared(&self) -> Markup {
        html! {
            @match self.progress.compared {
                Some(at) => { (time(at.as_millisecond())) }
                None => "not yet since this server began",
            }
        }
    }

    /// Says what a reader must know: that not all is there yet, or no more.
    fn state(&self) -> Markup {
        html! {
            @if let Some((done, all)) = self.progress.reading {
                p .note role="status" { "The index is being made: " (done) " of " (all) " runs were read." }
            }
            @if let Some(problem) = &self.progress.problem {
                p .note role="alert" { "What is shown may be old: " (printable(problem)) "." }
            }
        }
    }
}

/// Shows a page about a mistake.
pub(crate) fn problem(frame: &Frame<'_>, title: &str, what: &str) -> String {
    frame.page("-", title, &html! { p { (printable(what)) } })
}

/// Columns of a name that are shown.
const MAX_NAME: usize = 120;

/// A name as it can be shown: without control characters, and not longer than a line.
pub(super) fn text(name: &str) -> String {
    shortened(&printable(name), MAX_NAME)
}

/// An instant, in UTC.
pub(super) fn time(ms: i64) -> Markup {
    html! {
        @match Timestamp::from_millisecond(ms) {
            Ok(at) => { time datetime=(at.to_string()) { (at.strftime("%Y-%m-%d %H:%M").to_string()) " UTC" } }
            Err(_) => "-",
        }
    }
}

/// A size, rounded; whoever points at it sees its bytes.
pub(super) fn size(bytes: Option<i64>) -> Markup {
    html! {
        @match bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
            Some(bytes) => { data value=(bytes) title={ (bytes) " bytes" } { (rounded_size(bytes)) } }
            None => { span title="not measured" { "-" } }
        }
    }
}

/// How something ended: by its mark as well as by its word.
pub(super) fn outcome(outcome: Option<&str>) -> Markup {
    html! {
        @match outcome {
            Some("passed") => { span .good { "passed" } }
            Some("not_run" | "skipped") => { (outcome.unwrap_or_default()) }
            Some(other) => { span .bad { (text(other)) } }
            None => "-",
        }
    }
}

/// Leads to the pages before and after this one.
pub(super) fn pager(
    links: &Links,
    page: &str,
    query: &[(&str, &str)],
    number: u32,
    is_full: bool,
) -> Markup {
    let to = |number: u32| {
        let number = number.to_string();
        let mut query = query.to_vec();
        query.push(("page", &number));
        links.to(page, &query)
    };
    html! {
        @if number > 1 || is_full {
            nav aria-label="Further rows" {
                @if number > 1 { a rel="prev" href=(to(number - 1)) { "← newer" } }
                span { "page " (number) }
                @if is_full { a rel="next" href=(to(number + 1)) { "older →" } }
            }
        }
    }
}
