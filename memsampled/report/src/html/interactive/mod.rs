//! What scripts add to a report, and how it is kept from those who show none.
//!
//! Jenkins serves a report in a sandbox without scripts, where a script and a style are errors in the console. Both are
//! therefore between two `noscript`: where scripts are off, a comment reaches from the first to the second and swallows
//! them; where they are on, the content of a `noscript` is text that is not shown, and there is no comment.

mod curves;

use maud::{Markup, PreEscaped, html};
use memsample::MarkKind;
use serde_json::json;

use super::colours;
use super::machine::Band;
use crate::report::{Part, Report};
use crate::wording::name;

const UPLOT: &str = include_str!("../../../vendor/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../../../vendor/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("report.js");
const STYLE: &str = include_str!("report.css");

/// Characters of the name of a layer.
const MAX_NAME: usize = 60;

/// Returns the styles, for the head of the page.
pub(super) fn style() -> Markup {
    only_with_scripts(&html! { style { (PreEscaped(UPLOT_STYLE)) (PreEscaped(STYLE)) } })
}

/// Returns the data and the scripts, for the end of the page. Without the curves, which it does not compute but
/// compress, the still pictures remain.
pub(super) fn scripts(report: &Report, bands: &[Vec<Band>]) -> Markup {
    let units: Vec<u64> = report.parts.iter().map(curves::unit).collect();
    let Ok(curves) = curves::encoded(report, &units) else { return html! {} };
    let parts = report.parts.iter().zip(bands).zip(&units);
    let parts: Vec<serde_json::Value> =
        parts.map(|((part, bands), unit)| described(part, bands, *unit)).collect();
    // Nothing in a name ends the script or the comment around it.
    let parts = json!(parts).to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    only_with_scripts(&html! {
        script type="application/json" id="parts" { (PreEscaped(parts)) }
        script type="text/plain" id="curves" { (PreEscaped(curves)) }
        script { (PreEscaped(UPLOT)) }
        script { (PreEscaped(SCRIPT)) }
    })
}

/// Returns what a script must know of a part beside its curves. Times are in milliseconds since its begin.
fn described(part: &Part, bands: &[Band], unit: u64) -> serde_json::Value {
    let layers = &part.timeline.layers;
    let begin_ms = part.timeline.begin_ms;
    let names: Vec<String> = layers.iter().map(|layer| name(&layer.name, MAX_NAME)).collect();
    let colours: Vec<&str> =
        (0..layers.len()).map(|index| colours::layer(index, layers.len())).collect();
    let tests: Vec<_> = (bands.iter())
        .map(|band| {
            let (begin, end) = (band.begin_ms - begin_ms, band.end_ms - begin_ms);
            json!([name(&band.name, MAX_NAME), begin, end, band.lane, band.is_success])
        })
        .collect();
    let events: Vec<_> = (part.marks.events.iter())
        .map(|event| json!([event.ts_ms - begin_ms, event.kind == MarkKind::OomKill]))
        .collect();
    json!({
        "layers": names,
        "colours": colours,
        "unit": unit,
        "tests": tests,
        "events": events,
        "limit": part.machine.total_bytes,
        "alarm": colours::ALARM,
    })
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
