//! A comparison as Markdown, for a pull request or the summary of a step.

use std::fmt::Write as _;

use memsample_input::{markdown_escaped, printable, rounded_size};

use super::wording::{change, counts, interval, more, name, notes};
use crate::comparison::Comparison;
use crate::decision::Verdict;

/// Rows that are written: a summary of GitHub Actions may have 1 MiB.
const MAX_ROWS: usize = 200;
/// Characters of a name.
const MAX_NAME_CHARS: usize = 120;

/// Returns a comparison as Markdown. What is the same is counted and not listed.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("**Memory:** {}\n", counts(comparison));
    let shown: Vec<_> =
        comparison.comparisons.iter().filter(|it| it.verdict != Verdict::Same).collect();
    if !shown.is_empty() {
        text.push_str("\n| verdict | test | base | head | change | interval | repeats | |\n");
        text.push_str("|---|---|--:|--:|--:|--:|--:|---|\n");
    }
    for it in shown.iter().take(MAX_ROWS) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} + {} | {} |",
            it.verdict.words(),
            short(&name(comparison, it)),
            rounded_size(it.base_bytes),
            rounded_size(it.head_bytes),
            change(it),
            interval(it),
            it.base_repeats,
            it.head_repeats,
            more(it).unwrap_or_default()
        );
    }
    if let more @ 1.. = shown.len().saturating_sub(MAX_ROWS) {
        let _ = writeln!(text, "\n… and {more} more");
    }
    for it in comparison.not_compared.iter().take(MAX_ROWS) {
        let _ = writeln!(text, "\nNot compared: {}: {}", short(&printable(&it.test)), it.reason);
    }
    for note in notes(comparison) {
        let _ = writeln!(text, "\n{}", markdown_escaped(&note));
    }
    text
}

/// Returns a name that is not longer than a cell should be.
fn short(name: &str) -> String {
    let mut short: String = name.chars().take(MAX_NAME_CHARS).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    markdown_escaped(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short(&"x".repeat(10_000)).chars().count(), MAX_NAME_CHARS + 1);
    }
}
