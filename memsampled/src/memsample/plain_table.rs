//! Tables as they are printed, and the terminal on which they are.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

pub(crate) use memsample_input::table::{Fitted, align_right, lines, plain_table};

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
