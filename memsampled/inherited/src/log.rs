//! The log of a program that serves: one line for each event on the error stream, with the priority in front where the
//! journal of systemd reads it.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::queue::Queue;
use crate::streams::harmless;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOf {
    /// `memsampled`: its name begins each line that no journal reads.
    Daemon,
    /// A command.
    Command,
}

/// Writes what this program logs from now on: errors, warnings and what it does. To be called once.
///
/// The program waits for nobody who reads the log, until the end.
#[must_use]
pub fn start_log(of: LogOf) -> Queue {
    let (name, prefix) = match of {
        LogOf::Daemon => ("memsampled: ", "memsampled: warning: "),
        LogOf::Command => ("", "warning: "),
    };
    let queue = Queue::of_stderr(prefix);
    let writer = queue.writer();
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        // Nobody is left to tell if a line cannot be written.
        .log_internal_errors(false)
        .with_writer(move || writer.clone())
        .event_format(Lines { name, to_journal })
        .init();
    queue
}

/// Formats an event as a line. It is written at once, so that lines are not mixed; names of clients are escaped
/// by the caller.
struct Lines {
    name: &'static str,
    to_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // A library tells each request that it repeats, thousands where a store is away; what comes of it we tell.
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN && !metadata.target().starts_with("memsample") {
            return Ok(());
        }
        // The number is how the kernel and syslog number priorities.
        let (number, word) = match *metadata.level() {
            Level::ERROR => (3, "error: "),
            Level::WARN => (4, "warning: "),
            _ => (6, ""),
        };
        if self.to_journal {
            write!(writer, "<{number}>")?;
        } else {
            write!(writer, "{}{word}", self.name)?;
        }
        let mut message = String::new();
        context.field_format().format_fields(Writer::new(&mut message), event)?;
        // Paths and words of files are in it, of whoever owns them.
        writeln!(writer, "{}", harmless(&message))
    }
}
