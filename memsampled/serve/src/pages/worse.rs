//! What got worse.

use maud::html;

use super::ROWS;
use super::frame::{Frame, pager, size, text, time};
use crate::index::{Notice, NoticeKind};

/// What got worse, the last release first.
pub(crate) fn worse(
    frame: &Frame<'_>,
    project: Option<&str>,
    rows: &[Notice],
    page: u32,
    unexamined: i64,
) -> String {
    let query = [("project", project.unwrap_or(""))];
    let body = html! {
        p {
            "Tests whose peak of resident sets is larger from a release on, by the rules of " code { "memsample trend" }
            ", and releases with runs that did not pass. Also as an "
            a href=(frame.links.to("feed.atom", &query)) { "Atom feed" } "."
        }
        @if unexamined > 0 {
            p .note role="status" { (unexamined) " tests and releases are still to be examined." }
        }
        @if rows.is_empty() { p { "Nothing got worse." } } @else {
            div .scroll { table {
                thead { tr { th { "Release" } th { "Began" } th { "What" } th { "Suite" } th { "Project" } th .n { "Before" } th .n { "After" } th .n { "Change" } } }
                tbody { @for it in rows {
                    tr {
                        th scope="row" { a href=(frame.links.to("runs", &[("project", &it.project), ("release", &it.release)])) { (text(&it.release)) } }
                        td .t { (time(it.at_ms)) }
                        @match it.kind {
                            NoticeKind::Larger => {
                                td { a href=(frame.links.to("test", &[("project", &it.project), ("suite", &it.suite), ("test", &it.test)])) { (text(&it.test)) } }
                                td { (text(&it.suite)) }
                                td { (text(&it.project)) }
                                td .n { (size(it.before_bytes)) }
                                td .n { (size(it.after_bytes)) }
                                td .n { @if let Some(percent) = it.percent() { (format!("{percent:+.1} %")) } }
                            }
                            NoticeKind::ReleaseFailed => {
                                td { span .bad { (it.failed.unwrap_or(0)) " of " (it.runs.unwrap_or(0)) " runs failed" } }
                                td {} td { (text(&it.project)) } td .n {} td .n {} td .n {}
                            }
                        }
                    }
                } }
            } }
            (pager(frame.links, "worse", &query, page, rows.len() as u32 == ROWS))
        }
    };
    frame.page("worse", "What got worse", &body)
}
