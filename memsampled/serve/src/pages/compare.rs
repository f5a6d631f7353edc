//! Two releases compared.

use maud::{PreEscaped, html};

use super::frame::{Frame, text};

/// What `memsample compare` says of two releases, with the parts of its own page.
pub(crate) fn compare(
    frame: &Frame<'_>,
    project: &str,
    base: &str,
    head: &str,
    parts: &str,
) -> String {
    let sides = |base, head| [("project", project), ("base", base), ("head", head)];
    let other = frame.links.to("compare", &sides(head, base));
    let file = frame.links.to("comparison", &sides(base, head));
    let body = html! {
        p {
            "Project " (text(project)) ", as " code { "memsample compare" } " has it. "
            a href=(other) { "The other way round" } " · " a href=(file) { "As one file, with curves to zoom into" }
        }
        div .report { (PreEscaped(parts)) }
    };
    frame.page("", &format!("{base} → {head}"), &body)
}
