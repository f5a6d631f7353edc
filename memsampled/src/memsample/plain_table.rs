//! Tables as they are printed: aligned columns without lines or borders.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use comfy_table::{CellAlignment, Table, presets};

/// Returns a table without rows, lines or borders.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Aligns the columns at these indices to the right.
pub(crate) fn align_right(table: &mut Table, is_right: impl Fn(usize) -> bool) {
    for (index, column) in table.column_iter_mut().enumerate() {
        if is_right(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Returns the lines of a table, without the spaces that it has on both sides.
pub(crate) fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

/// Returns the number of columns of the terminal on stdout, if there is one.
pub(crate) fn terminal_width() -> Option<usize> {
    width(&io::stdout())
}

/// Returns the number of columns of the terminal that a stream is, if it is one.
pub(crate) fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).ok()?.ws_col;
    (columns > 0).then_some(columns.into())
}
