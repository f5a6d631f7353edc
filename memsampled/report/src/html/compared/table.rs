//! What a comparison says, in one table.

use maud::{Markup, html};
use memsample_compare::Comparison;
use memsample_compare::comparison::Compared;
use memsample_compare::decision::Verdict;
use memsample_compare::report::wording::{change, interval, more};
use memsample_input::{count, rounded_size};

use super::super::numbers::size;
use crate::wording::name;

/// Rows of the table, at most.
const MAX_ROWS: usize = 5000;

/// Lists what was compared, what wants attention first. `place` gives the name of a test and the link to it.
pub(super) fn table(
    comparison: &Comparison,
    place: impl Fn(&Compared) -> Option<(String, String)>,
) -> Markup {
    let rows = &comparison.comparisons;
    html! {
        table id="tests" border="0" cellpadding="4" rules="rows" {
            caption { "What was compared, what wants attention first. Sizes are medians of the lower bounds of the repeats, which each test has with their upper ones" }
            thead { tr {
                th scope="col" align="left" valign="bottom" { "Verdict" }
                th scope="col" align="left" valign="bottom" { "Test" }
                th scope="col" align="left" valign="bottom" { "What" }
                th scope="col" align="right" valign="bottom" { "Base" }
                th scope="col" align="right" valign="bottom" { "Head" }
                th scope="col" align="right" valign="bottom" { "Change" }
                th scope="col" align="right" valign="bottom" { "Interval" }
                th scope="col" align="right" valign="bottom" { "in bytes" }
                th scope="col" align="right" valign="bottom" { "Repeats" }
                th scope="col" align="left" valign="bottom" { "Note" }
            } }
            tbody { @for it in rows.iter().take(MAX_ROWS) { (row(it, place(it))) } }
        }
        @if rows.len() > MAX_ROWS { p { "… and " (rows.len() - MAX_ROWS) " more, which --json lists." } }
    }
}

fn row(it: &Compared, place: Option<(String, String)>) -> Markup {
    let (test, link) = place.unzip();
    let test = test.unwrap_or_else(|| it.test.clone());
    html! {
        tr itemscope data-test=(name(&test, 400)) data-verdict=(it.verdict.words().replace(' ', "_")) {
            td nowrap { (badge(it.verdict)) }
            th scope="row" align="left" {
                @match &link {
                    Some(link) => a href=(link) title=[(test.len() > 60).then(|| name(&test, 1000))] { (name(&test, 60)) },
                    None => (name(&test, 60)),
                }
            }
            td nowrap { (what(it)) }
            td align="right" nowrap { (size("base_bytes", it.base_bytes)) }
            td align="right" nowrap { (size("head_bytes", it.head_bytes)) }
            td align="right" nowrap { data value=(it.change_percent) itemprop="change_percent" { (mark(it)) (change(it)) } }
            td align="right" nowrap { (interval(it)) }
            td align="right" nowrap { data value=(it.change_bytes) itemprop="change_bytes" title={ (it.change_bytes) " bytes" } { (signed(it.change_bytes)) } }
            td align="right" nowrap { (it.base_repeats) " + " (it.head_repeats) }
            td { @if let Some(note) = note(it) { (note) } }
        }
    }
}

/// Says what of a test was compared.
pub(super) fn what(it: &Compared) -> String {
    let quantity = match it.quantity {
        memsample_compare::Quantity::Peak => "RSS peak",
        memsample_compare::Quantity::PssPeak => "PSS peak",
        memsample_compare::Quantity::AnonPeak => "anonymous peak",
    };
    match &it.role {
        Some(role) => format!("{quantity} of role {}", name(role, 30)),
        None => quantity.to_owned(),
    }
}

/// Shows a verdict as a sign and a word.
pub(super) fn badge(verdict: Verdict) -> Markup {
    html! {
        @match verdict {
            Verdict::Worse => b { "▲ " (verdict.words()) },
            Verdict::Better => { "▼ " (verdict.words()) },
            Verdict::Same => { "= " (verdict.words()) },
            Verdict::Suspect | Verdict::CannotTell => { "? " (verdict.words()) },
        }
    }
}

/// Returns what stands before a change that is one of what was sampled.
fn mark(it: &Compared) -> &'static str {
    let is_changed = matches!(it.verdict, Verdict::Worse | Verdict::Better);
    if is_changed && it.bounds_overlap { "~" } else { "" }
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", rounded_size(bytes.unsigned_abs()))
}

fn note(it: &Compared) -> Option<String> {
    let left_out = [
        (it.failed_repeats, "that did not pass"),
        (it.not_measured_repeats, "in which it was not measured"),
    ];
    let left_out = left_out.into_iter().filter(|(repeats, _)| *repeats > 0);
    let left_out =
        left_out.map(|(repeats, why)| format!("left out: {} {why}", count(repeats, "repeat")));
    let limit =
        (!it.counts && it.verdict == Verdict::Worse).then(|| "within the limits".to_owned());
    let notes: Vec<String> = more(it).into_iter().chain(limit).chain(left_out).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}
