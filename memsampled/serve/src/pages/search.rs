//! What a search found.

use maud::html;

use super::frame::{Frame, text};
use crate::index::Found;

/// Names that contain a text.
pub(crate) fn search(frame: &Frame<'_>, wanted: &str, found: &[Found]) -> String {
    let body = html! {
        @if found.is_empty() {
            p { "No test, role, machine, suite or release has a name with “" (text(wanted)) "” in it." }
        } @else {
            div .scroll { table {
                thead { tr { th { "Name" } th { "What" } th { "Suite" } th { "Project" } } }
                tbody { @for it in found {
                    tr {
                        th scope="row" { a href=(link(frame, it)) { (text(&it.text)) } }
                        td { (if it.kind == "host" { "machine" } else { &it.kind }) }
                        td { (text(&it.suite)) }
                        td { (text(&it.project)) }
                    }
                } }
            } }
        }
    };
    frame.page("-", &format!("Search: {wanted}"), &body)
}

fn link(frame: &Frame<'_>, found: &Found) -> String {
    let Found { kind, text, project, suite } = found;
    match kind.as_str() {
        "test" => frame.links.to("test", &[("project", project), ("suite", suite), ("test", text)]),
        "suite" => frame.links.to("suite", &[("project", project), ("suite", text)]),
        "release" => frame.links.to("runs", &[("project", project), ("release", text)]),
        "host" => frame.links.to("runs", &[("host", text)]),
        _ => frame.links.to("suite", &[("project", project), ("suite", suite)]),
    }
}
