//! Two releases compared.

use maud::html;
use memsample_compare::Comparison;
use memsample_compare::report::text as comparison_text;

use super::frame::{Frame, text};

/// Columns of the text.
const WIDTH: usize = 110;

/// What `memsample compare` says of two releases.
pub(crate) fn compare(
    frame: &Frame<'_>,
    project: &str,
    base: &str,
    head: &str,
    comparison: &Comparison,
) -> String {
    let other = frame.links.to("compare", &[("project", project), ("base", head), ("head", base)]);
    let body = html! {
        p { "Project " (text(project)) ", as " code { "memsample compare" } " has it. " a href=(other) { "The other way round" } }
        div .scroll { pre tabindex="0" { (comparison_text(comparison, WIDTH, true)) } }
    };
    frame.page("", &format!("{base} → {head}"), &body)
}
