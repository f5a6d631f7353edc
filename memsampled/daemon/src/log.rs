//! What the daemon says to its operator: lines on the error stream, with the priority in front where
//! the journal of systemd reads them.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

/// How much a line matters, as the kernel and syslog number it.
#[derive(Clone, Copy, Debug)]
enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

pub(super) fn info(line: impl fmt::Display) {
    write(Priority::Info, line);
}

pub(super) fn warning(line: impl fmt::Display) {
    write(Priority::Warning, line);
}

pub(super) fn error(line: impl fmt::Display) {
    write(Priority::Error, line);
}

fn write(priority: Priority, line: impl fmt::Display) {
    static TO_JOURNAL: OnceLock<bool> = OnceLock::new();
    let to_journal = *TO_JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some());
    // One write for each line, so that lines are not mixed; names of clients are escaped by the caller.
    let text = match (to_journal, priority) {
        (true, priority) => format!("<{}>{line}\n", priority as u8),
        (false, Priority::Error) => format!("memsampled: error: {line}\n"),
        (false, Priority::Warning) => format!("memsampled: warning: {line}\n"),
        (false, Priority::Info) => format!("memsampled: {line}\n"),
    };
    // Nobody is left to tell if this fails.
    let _ = io::stderr().write_all(text.as_bytes());
}
