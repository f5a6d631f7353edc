//! What `memsample serve` tells while it serves: one line for each event on stderr.

use std::fmt;

use memsample_inherited::{Queue, harmless};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Tells from now on what went wrong, and what was done.
///
/// The server waits for nobody who reads it, until what is returned is dropped.
pub(crate) fn start() -> Queue {
    let queue = Queue::of_stderr("warning: ");
    let writer = queue.writer();
    tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_ansi(false)
        // Nobody is left to tell if a line cannot be written.
        .log_internal_errors(false)
        .with_writer(move || writer.clone())
        .event_format(Lines)
        .init();
    queue
}

struct Lines;

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
        let metadata = event.metadata();
        let word = match *metadata.level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            // A library tells each request that it repeats; what comes of it we tell.
            _ if !metadata.target().starts_with("memsample") => return Ok(()),
            _ => "",
        };
        let mut message = String::new();
        context.field_format().format_fields(Writer::new(&mut message), event)?;
        // Names of a store are in it, of whoever pushed.
        writeln!(writer, "{word}{}", harmless(&message))
    }
}
