//! Reads a series from a CSV file with the columns `time_s`, `bytes` and maybe `cycle`.

use std::fmt;
use std::io::{self, Read};

use super::series::{Sample, Series};

/// The most rows of a file: more than a day at 100 Hz.
pub const MAX_ROWS: usize = 10_000_000;

/// The longest line that is read; that of a series is far below.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Why a file is not a series, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCsv {
    /// The line of the file, from 1; `None` where the whole file is meant.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for BadCsv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for BadCsv {}

/// Reads a series, and how many of its rows have an empty `bytes`: not measured, a gap.
///
/// # Errors
///
/// The file cannot be read, lacks a column or has no row; a field is not a number; or the rows are not a
/// series (see [`Series::new`]).
pub fn read_csv(file: impl Read) -> Result<(Series, u64), BadCsv> {
    let lines = BoundedLines { file, bytes: 0 };
    // A quote that is never closed would make one field of the whole file.
    let mut reader = csv::ReaderBuilder::new();
    let mut rows = reader.quoting(false).trim(csv::Trim::All).from_reader(lines);
    let headers = rows.headers().map_err(unreadable)?.clone();
    let column = |name: &str| {
        headers
            .iter()
            .position(|header| header.trim_start_matches('\u{feff}').trim_matches('"') == name)
    };
    let lacks = |name: &str| {
        let what = match headers.iter().all(str::is_empty) {
            true => "the file is empty".to_owned(),
            false => format!("no column `{name}`"),
        };
        let separated = match headers.iter().any(|header| header.contains([';', '\t'])) {
            true => ", separated by commas",
            false => "",
        };
        let what = format!(
            "{what}; the first line names the columns{separated}: time_s,bytes or time_s,bytes,cycle"
        );
        BadCsv { line: None, what }
    };
    let time = column("time_s").ok_or_else(|| lacks("time_s"))?;
    let bytes = column("bytes").ok_or_else(|| lacks("bytes"))?;
    let cycle = column("cycle");
    let (mut samples, mut lines, mut unmeasured) = (Vec::new(), Vec::new(), 0);
    let mut row = csv::StringRecord::new();
    while rows.read_record(&mut row).map_err(unreadable)? {
        let line = row.position().map(csv::Position::line);
        let number = |name: &str, at: usize| {
            let text = row.get(at).unwrap_or("").trim_matches('"');
            text.parse::<f64>().map_err(|_| BadCsv {
                line,
                what: format!(
                    "{name} is not a number: {:?}",
                    text.chars().take(40).collect::<String>()
                ),
            })
        };
        if samples.len() >= MAX_ROWS {
            let what = format!("more than {MAX_ROWS} rows; keep every second one, or a part");
            return Err(BadCsv { line, what });
        }
        let time_s = number("time_s", time)?;
        if row.get(bytes).is_some_and(is_empty) {
            unmeasured += 1;
            continue;
        }
        let cycle = cycle.filter(|&at| row.get(at).is_some_and(|text| !is_empty(text)));
        let cycle = cycle.map(|at| number("cycle", at)).transpose()?;
        samples.push(Sample { time_s, bytes: number("bytes", bytes)?, cycle });
        lines.push(line);
    }
    if samples.is_empty() {
        return Err(BadCsv {
            line: None,
            what: "no row below the names of the columns has bytes".to_owned(),
        });
    }
    let series = Series::new(samples).map_err(|bad| BadCsv {
        line: lines.get(bad.index()).copied().flatten(),
        what: bad.to_string(),
    })?;
    Ok((series, unmeasured))
}

fn is_empty(text: &str) -> bool {
    text.trim_matches('"').is_empty()
}

/// A file whose lines are not longer than can be those of a series, so that memory is bounded whatever is read.
struct BoundedLines<R> {
    file: R,
    /// Of the line that is being read.
    bytes: usize,
}

impl<R: Read> Read for BoundedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        for line in buffer.get(..read).unwrap_or_default().split_inclusive(|&byte| byte == b'\n') {
            self.bytes += line.len();
            if self.bytes > MAX_LINE_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line is longer than 64 KiB",
                ));
            }
            if line.ends_with(b"\n") {
                self.bytes = 0;
            }
        }
        Ok(read)
    }
}

fn unreadable(error: csv::Error) -> BadCsv {
    let line = error.position().map(csv::Position::line);
    let what = match error.into_kind() {
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, and the first line has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not text in UTF-8".to_owned(),
        _ => "not a CSV file".to_owned(),
    };
    BadCsv { line, what }
}
