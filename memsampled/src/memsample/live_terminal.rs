//! The terminal on which something live is drawn, without waiting for it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressDrawTarget, TermLike};
use memsample_inherited::{Queue, QueueWriter};
use rustix::termios::tcgetwinsize;

/// Columns and rows of a terminal that does not say how many it has.
const SIZE: (u16, u16) = (80, 24);

/// Returns where to draw through the queue of the error stream; it shows nothing if that is no terminal, or one without
/// control sequences.
pub(crate) fn live_target(stderr: &Queue) -> ProgressDrawTarget {
    if ProgressDrawTarget::stderr().is_hidden() {
        return ProgressDrawTarget::hidden();
    }
    ProgressDrawTarget::term_like(Box::new(LiveTerminal { out: Mutex::new(stderr.writer()) }))
}

/// A terminal that obeys ECMA-48.
#[derive(Debug)]
struct LiveTerminal {
    out: Mutex<QueueWriter>,
}

impl LiveTerminal {
    fn out(&self) -> MutexGuard<'_, QueueWriter> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the cursor; zero would mean one.
    fn move_cursor(&self, cells: usize, direction: char) -> io::Result<()> {
        match cells {
            0 => Ok(()),
            _ => write!(self.out(), "\x1b[{cells}{direction}"),
        }
    }
}

/// Returns columns and rows.
fn size() -> (u16, u16) {
    let size = tcgetwinsize(io::stderr()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    if size.0 > 0 && size.1 > 0 { size } else { SIZE }
}

impl TermLike for LiveTerminal {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, cells: usize) -> io::Result<()> {
        self.move_cursor(cells, 'A')
    }

    fn move_cursor_down(&self, cells: usize) -> io::Result<()> {
        self.move_cursor(cells, 'B')
    }

    fn move_cursor_right(&self, cells: usize) -> io::Result<()> {
        self.move_cursor(cells, 'C')
    }

    fn move_cursor_left(&self, cells: usize) -> io::Result<()> {
        self.move_cursor(cells, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        writeln!(self.out(), "{line}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.out().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.out().flush()
    }
}
