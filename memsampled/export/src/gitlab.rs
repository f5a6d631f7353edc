//! GitLab's metrics report: OpenMetrics without timestamps, whole MiB.
//!
//! GitLab takes each line for a name and a text, and shows a change wherever the text differs; so sizes are rounded to
//! whole MiB. It cuts a line at `#`, also within a name, so that a name has `＃` (U+FF03) instead.

use std::io::{self, Write};

use crate::figures::{Figures, Measure};
use crate::openmetrics::escaped;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Writes the figures, one line each: `memsample_rss_peak_mib{suite="smoke",test="ping"} 85`.
///
/// # Errors
///
/// What `out` says.
pub fn write(figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let subject = if figures.suite.is_some() { "test" } else { "role" };
    for measure in Measure::ALL {
        let mut of = figures.figures.iter().filter(|figure| figure.measure == measure).peekable();
        if of.peek().is_none() {
            continue;
        }
        let name = format!("memsample_{}_mib", measure.word());
        writeln!(out, "# TYPE {name} gauge")?;
        writeln!(out, "# HELP {name} {}, in MiB.", measure.help())?;
        for figure in of {
            write!(out, "{name}{{")?;
            if let Some(suite) = &figures.suite {
                write!(out, "suite=\"{}\",", label(suite))?;
            }
            let mib = figure.bytes.saturating_add(MIB / 2) / MIB;
            writeln!(out, "{subject}=\"{}\"}} {mib}", label(&figure.subject))?;
        }
    }
    writeln!(out, "# EOF")
}

fn label(text: &str) -> String {
    // In its shell words, a `$` and a backquote have no meaning that a backslash would have to take away.
    escaped(text).replace('#', "＃")
}
