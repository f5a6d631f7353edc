//! Tables as they are printed: words below each other, and nothing around them.

use comfy_table::{Table, presets};

/// Returns a table without rows, lines or borders.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Returns the lines of a table, without the space that it has on both sides.
pub(crate) fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}
