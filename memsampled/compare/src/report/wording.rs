//! How a comparison is put into words.

use memsample_input::printable;

use crate::comparison::{Compared, Comparison};
use crate::decision::{NoUse, Verdict};

/// Formats a change: `+5.0 %`.
#[must_use]
pub fn change(compared: &Compared) -> String {
    format!("{:+.1} %", compared.change_percent)
}

/// Formats the interval of a change: `+4.8 to +5.2 %`; `-` where two numbers are too few for one.
#[must_use]
pub fn interval(compared: &Compared) -> String {
    // Two against two have one of 67 %, which says little; one against one has none.
    if compared.confidence_percent < 50.0 {
        return "-".to_owned();
    }
    format!("{:+.1} to {:+.1} %", compared.change_percent_lower, compared.change_percent_upper)
}

/// Names what was compared, on one line: `net/ping`, `net/ping, role cc`, `net/ping, pss_peak`.
#[must_use]
pub fn name(comparison: &Comparison, compared: &Compared) -> String {
    let runs = comparison.base.iter().chain(&comparison.head);
    let has_suites = runs.clone().any(|run| run.suite != compared.suite);
    let mut name = match has_suites {
        true => format!("{}: {}", compared.suite, compared.test),
        false => compared.test.clone(),
    };
    if let Some(role) = &compared.role {
        name.push_str(&format!(", role {role}"));
    }
    if comparison.comparisons.iter().any(|other| other.quantity != compared.quantity) {
        name.push_str(&format!(", {}", compared.quantity));
    }
    printable(&name)
}

/// Says what more repeats would do; `None` where it is decided.
#[must_use]
pub fn more(compared: &Compared) -> Option<String> {
    let (base, head) = (compared.more_base_repeats, compared.more_head_repeats);
    match (compared.no_use, base.max(head)) {
        (Some(NoUse::BelowFloor), _) => {
            Some(format!("changed by less than can be told ({:.1} %)", compared.floor_percent))
        }
        (Some(NoUse::AtMargin), _) => Some("the change is about as large as the margin".to_owned()),
        (None, Some(repeats)) if base == head => Some(format!("{repeats} more repeats would tell")),
        (None, Some(_)) => Some(format!(
            "{} more repeats of the base and {} of the head would tell",
            base.unwrap_or(0),
            head.unwrap_or(0)
        )),
        (None, None) => None,
    }
}

/// Counts the verdicts: `1 worse, 0 suspect, 2 better, 3 cannot tell, 8 same`.
#[must_use]
pub fn counts(comparison: &Comparison) -> String {
    let count = |verdict: Verdict| format!("{} {}", comparison.count(verdict), verdict.words());
    Verdict::BY_ATTENTION.map(count).join(", ")
}

/// What must be known of the numbers, a sentence each.
#[must_use]
pub fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for difference in &comparison.different {
        notes.push(format!("allowed to differ: {}", printable(&difference.to_string())));
    }
    if let Some(history) = &comparison.history {
        notes.push(format!(
            "{} earlier releases: builds differ by {:.2} % of which nothing has changed, so that a change below {:.1} % is \
             none; twenty repeats a side find one of {:.1} %",
            history.releases,
            history.build_shift_percent,
            history.least_change_percent,
            history.smallest_change_found_percent
        ));
    }
    if !comparison.unknown.is_empty() {
        let words: Vec<&str> = comparison.unknown.iter().map(|part| part.word()).collect();
        notes.push(format!(
            "not every run says its {}, so that these could not be compared",
            words.join(", ")
        ));
    }
    let failed: u64 = comparison.comparisons.iter().map(|it| it.failed_repeats).sum();
    let not_measured: u64 = comparison.comparisons.iter().map(|it| it.not_measured_repeats).sum();
    if failed > 0 {
        notes.push(format!("left out: {failed} repeats that did not pass"));
    }
    if not_measured > 0 {
        notes.push(format!("left out: {not_measured} repeats in which nothing was measured"));
    }
    let is_changed = |it: &&Compared| matches!(it.verdict, Verdict::Worse | Verdict::Better);
    if comparison.comparisons.iter().filter(is_changed).any(|it| it.bounds_overlap) {
        notes.push(
            "~ the bounds of base and head overlap: the change is one of what was sampled"
                .to_owned(),
        );
    }
    notes
}

/// Writes the probability of a change by chance. Far from what can be by chance it is not said how far.
#[must_use]
pub fn probability(p: f64) -> String {
    if p < 1e-6 { "< 0.000001".to_owned() } else { format!("{p:.6}") }
}
