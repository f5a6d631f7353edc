//! Tables as they are printed: aligned columns without lines or borders.

use comfy_table::{CellAlignment, Table, presets};
use unicode_width::UnicodeWidthStr;

/// Returns a table without rows, lines or borders.
#[must_use]
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Aligns the columns at these indices to the right.
pub fn align_right(table: &mut Table, is_right: impl Fn(usize) -> bool) {
    for (index, column) in table.column_iter_mut().enumerate() {
        if is_right(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Returns the lines of a table, without the spaces that it has on both sides.
#[must_use]
pub fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

/// A table that fits into a terminal.
pub struct Fitted<'a> {
    /// The heads of the columns.
    pub heads: Vec<&'a str>,
    /// A cell for each head.
    pub rows: Vec<Vec<String>>,
    /// The column with names, which are shortened; all others are aligned to the right.
    pub name: &'a str,
    /// Columns that are left out where there is no room, the first of them first.
    pub spare: &'a [&'a str],
    /// Shortens a name to so many columns.
    pub shorten: fn(&str, usize) -> String,
}

/// Columns that a name has at least before others are left out.
const MIN_NAME: usize = 24;
/// Between two columns.
const SPACE: usize = 2;

impl Fitted<'_> {
    /// Returns the lines, and the heads of the columns that were left out. Without a width nothing is shortened or left
    /// out.
    #[must_use]
    pub fn lines(mut self, width: Option<usize>) -> (String, Vec<String>) {
        let mut left_out = Vec::new();
        if let Some(width) = width {
            for head in self.spare {
                if self.others() + self.widest(self.name).min(MIN_NAME) <= width {
                    break;
                }
                if let Some(index) = self.heads.iter().position(|other| other == head) {
                    self.heads.remove(index);
                    self.rows.iter_mut().for_each(|row| drop(row.remove(index)));
                    left_out.push((*head).to_owned());
                }
            }
            let room = width.saturating_sub(self.others()).max(MIN_NAME);
            if let Some(index) = self.heads.iter().position(|head| *head == self.name) {
                for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(index)) {
                    *cell = (self.shorten)(cell, room);
                }
            }
        }
        let name = self.heads.iter().position(|head| *head == self.name);
        let mut table = plain_table();
        table.set_header(self.heads);
        table.add_rows(self.rows);
        align_right(&mut table, |column| Some(column) != name);
        (lines(&table), left_out)
    }

    /// Returns what all columns but that with the names take, with the space between all.
    fn others(&self) -> usize {
        let others = self.heads.iter().filter(|head| **head != self.name);
        others.map(|head| self.widest(head) + SPACE).sum()
    }

    fn widest(&self, head: &str) -> usize {
        let Some(index) = self.heads.iter().position(|other| *other == head) else { return 0 };
        let cells = self.rows.iter().filter_map(|row| row.get(index));
        cells.map(|cell| cell.width()).chain([head.width()]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cut, shortened};

    fn fitted(shorten: fn(&str, usize) -> String) -> Fitted<'static> {
        let row = |name: &str| vec!["100.0 MiB".to_owned(), "2.0 s".to_owned(), name.to_owned()];
        Fitted {
            heads: vec!["RSS", "AT", "NAME"],
            rows: vec![row("a/long/name/of/the/first"), row("日本日本日本日本日本日本日本")],
            name: "NAME",
            spare: &["AT"],
            shorten,
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_what_is_missing_is_told() {
        for width in 40..60 {
            for shorten in [cut, shortened] {
                let (text, left_out) = fitted(shorten).lines(Some(width));
                assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
                assert_eq!(left_out.is_empty(), text.contains("2.0 s"), "{width}:\n{text}");
                assert!(text.contains('…') || text.contains("of/the/first"), "{text}");
            }
        }
        let (text, left_out) = fitted(cut).lines(None);
        assert!(left_out.is_empty() && !text.contains('…'), "{text}");
    }
}
