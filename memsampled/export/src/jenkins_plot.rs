//! A CSV file for Jenkins' Plot plugin: one header, and one row of peaks of resident sets in MiB.

use std::io::{self, Write};

use crate::figures::{Figure, Figures, Measure};

/// Writes a column for each test or role that has a peak of resident sets.
///
/// The plugin reads a backslash within quotes as an escape, so that each is written twice.
///
/// # Errors
///
/// What `out` says.
pub fn write(figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let peaks: Vec<&Figure> =
        figures.figures.iter().filter(|figure| figure.measure == Measure::RssPeak).collect();
    let heads: Vec<String> = peaks.iter().map(|figure| head(&figure.subject)).collect();
    let values: Vec<String> =
        peaks.iter().map(|figure| format!("{:.3}", figure.bytes as f64 / 1_048_576.0)).collect();
    writeln!(out, "{}\n{}", heads.join(","), values.join(","))
}

/// Returns a name as the plugin reads it: on one line, since the row of values is the second line.
fn head(name: &str) -> String {
    let one_line = name.replace(['\n', '\r'], " ");
    format!("\"{}\"", one_line.replace('\\', "\\\\").replace('"', "\"\""))
}
