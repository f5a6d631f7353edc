//! A comparison as text for a terminal.

use std::fmt::Write as _;

use memsample_input::table::{align_right, lines, plain_table};
use memsample_input::{cut, folded, printable, rounded_size};

use super::wording::{change, counts, interval, more, name, notes};
use crate::comparison::{Compared, Comparison};
use crate::decision::Verdict;

/// Rows up to which what is the same is listed too.
const MAX_ROWS: usize = 40;
/// Columns of all but the name.
const OTHER_COLUMNS: usize = 62;
/// A terminal with fewer columns has no table.
const MIN_TABLE: usize = 76;
/// What could not be compared is named up to this many times.
const MAX_NOT_COMPARED: usize = 10;

/// Returns a comparison as text for a terminal of `width` columns; `with_all` lists everything.
#[must_use]
pub fn text(comparison: &Comparison, width: usize, with_all: bool) -> String {
    let is_short = comparison.comparisons.len() <= MAX_ROWS;
    let is_shown = |it: &&Compared| with_all || is_short || it.verdict != Verdict::Same;
    let shown: Vec<&Compared> = comparison.comparisons.iter().filter(is_shown).collect();
    let mut text = match width < MIN_TABLE {
        true => blocks(comparison, &shown, width),
        false => table(comparison, &shown, width),
    };
    let hidden = comparison.comparisons.len() - shown.len();
    if hidden > 0 {
        text.push_str(&format!("… and {hidden} that are the same: --all lists them\n"));
    }
    let said = |text: &mut String, line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", folded(line, Some(width.max(8))));
    };
    for it in shown.iter().filter(|it| it.verdict == Verdict::CannotTell).take(MAX_NOT_COMPARED) {
        if let Some(more) = more(it) {
            said(&mut text, &format!("cannot tell {}: {more}", cut(&name(comparison, it), 40)));
        }
    }
    for it in comparison.not_compared.iter().take(MAX_NOT_COMPARED) {
        let test = cut(&printable(&it.test), 40);
        said(&mut text, &format!("not compared: {test}, {}: {}", it.quantity, it.reason));
    }
    if let more @ 1.. = comparison.not_compared.len().saturating_sub(MAX_NOT_COMPARED) {
        said(&mut text, &format!("not compared: {more} more, which --json lists"));
    }
    for note in notes(comparison) {
        said(&mut text, &format!("note: {note}"));
    }
    said(&mut text, &counts(comparison));
    text
}

fn table(comparison: &Comparison, shown: &[&Compared], width: usize) -> String {
    let mut table = plain_table();
    table.set_header(["VERDICT", "TEST", "BASE", "HEAD", "CHANGE", "INTERVAL", "REPEATS"]);
    for it in shown {
        let overlap = if is_marked(it) { "~" } else { "" };
        table.add_row([
            it.verdict.words().to_owned(),
            cut(&name(comparison, it), width.saturating_sub(OTHER_COLUMNS).max(8)),
            rounded_size(it.base_bytes),
            rounded_size(it.head_bytes),
            format!("{overlap}{}", change(it)),
            interval(it),
            format!("{} + {}", it.base_repeats, it.head_repeats),
        ]);
    }
    align_right(&mut table, |column| column >= 2);
    for column in table.column_iter_mut().skip(2) {
        column.set_padding((0, 1));
    }
    lines(&table)
}

/// Writes a few short lines for each comparison, where a table does not fit.
fn blocks(comparison: &Comparison, shown: &[&Compared], width: usize) -> String {
    let mut text = String::new();
    for it in shown {
        let heading = format!("{}: {}", it.verdict.words(), name(comparison, it));
        let _ = writeln!(text, "{}", cut(&heading, width.max(8)));
        // A name may be cut, and a number may not.
        let numbers = [
            format!("  {} -> {}", rounded_size(it.base_bytes), rounded_size(it.head_bytes)),
            format!("  {}{}", if is_marked(it) { "~" } else { "" }, change(it)),
            format!("  {}", interval(it)),
        ];
        for line in numbers {
            let _ = writeln!(text, "{}", folded(&line, Some(width.max(8))));
        }
    }
    text
}

fn is_marked(it: &Compared) -> bool {
    it.bounds_overlap && matches!(it.verdict, Verdict::Worse | Verdict::Better)
}
