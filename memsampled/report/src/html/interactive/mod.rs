//! What scripts add to a report, and how it is kept from those who show none.
//!
//! Jenkins serves a report in a sandbox without scripts, where a script and a style are errors in the console. Both are
//! therefore between two `noscript`: where scripts are off, a comment reaches from the first to the second and swallows
//! them; where they are on, the content of a `noscript` is text that is not shown, and there is no comment.

mod curves;

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

pub(super) use self::curves::Table;
use super::colours;

const UPLOT: &str = include_str!("../../../vendor/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../../../vendor/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("report.js");
const STYLE: &str = include_str!("report.css");

/// A still picture that scripts replace by one that can be zoomed.
pub(super) struct Interactive {
    /// The id of the still picture.
    pub(super) id: String,
    /// How its layers are drawn.
    pub(super) kind: Kind,
    /// Its curves, each with its layers.
    pub(super) curves: Vec<(Table, Vec<InteractiveLayer>)>,
    /// What is drawn over them. Times are in milliseconds since the begin of the curves.
    pub(super) over: Over,
}

/// How layers are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each on top of those before.
    Stack,
    /// Each from the base, over those before.
    Over,
}

/// A layer.
pub(super) struct InteractiveLayer {
    pub(super) name: String,
    pub(super) colour: &'static str,
    /// Whether it is a line, and not an area.
    pub(super) is_line: bool,
}

/// What is drawn over curves.
#[derive(Default)]
pub(super) struct Over {
    /// Tests that ran: name, begin, end, lane, and whether it succeeded.
    pub(super) tests: Vec<(String, i64, i64, usize, bool)>,
    /// What happened, and whether it was an OOM kill.
    pub(super) events: Vec<(i64, bool)>,
    /// What must not be reached, in bytes, and its name.
    pub(super) limit: Option<(u64, &'static str)>,
    /// The id of a table that has the numbers.
    pub(super) details: Option<String>,
    /// What only the still picture has.
    pub(super) still: Option<&'static str>,
}

/// Returns the styles, for the head of the page.
pub(super) fn style() -> Markup {
    only_with_scripts(&html! { style { (PreEscaped(UPLOT_STYLE)) (PreEscaped(STYLE)) } })
}

/// Returns the data and the scripts, for the end of the page. Without the curves, which it does not compute but
/// compress, the still pictures remain.
pub(super) fn scripts(charts: &[Interactive]) -> Markup {
    let tables = charts.iter().flat_map(|chart| chart.curves.iter().map(|(table, _)| table));
    let Ok(curves) = curves::encoded(tables) else { return html! {} };
    let charts: Vec<Value> = charts.iter().map(Interactive::described).collect();
    // Nothing in a name ends the script or the comment around it.
    let charts = json!(charts).to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    only_with_scripts(&html! {
        script type="application/json" id="charts" { (PreEscaped(charts)) }
        script type="text/plain" id="curves" { (PreEscaped(curves)) }
        script { (PreEscaped(UPLOT)) }
        script { (PreEscaped(SCRIPT)) }
    })
}

impl Interactive {
    /// Returns what a script must know beside the curves.
    fn described(&self) -> Value {
        let curves: Vec<Value> = self
            .curves
            .iter()
            .map(|(table, layers)| {
                let layers: Vec<Value> = layers
                    .iter()
                    .map(|layer| json!([layer.name, layer.colour, layer.is_line]))
                    .collect();
                json!({ "unit": table.unit, "layers": layers })
            })
            .collect();
        let Over { tests, events, limit, details, still } = &self.over;
        json!({
            "id": self.id,
            "stack": self.kind == Kind::Stack,
            "curves": curves,
            "tests": tests,
            "events": events,
            "limit": limit,
            "details": details,
            "still": still,
            "alarm": colours::ALARM,
        })
    }
}

fn only_with_scripts(content: &Markup) -> Markup {
    html! {
        (PreEscaped("<noscript><!--</noscript>"))
        (content)
        (PreEscaped("<noscript>--></noscript>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_scripts_ends_what_is_around_them() {
        for text in [UPLOT, UPLOT_STYLE, SCRIPT, STYLE] {
            for end in ["-->", "--!>", "<!--", "</script", "</style", "<script"] {
                assert!(!text.contains(end), "{end}");
            }
        }
    }
}
