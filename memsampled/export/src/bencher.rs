//! Bencher Metric Format, for the adapter `json` of Bencher.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::figures::Figures;

/// Characters of a benchmark's name, at most.
const MAX_NAME_CHARACTERS: usize = 1024;

/// A metric, in bytes.
#[derive(Serialize)]
struct Metric {
    value: u64,
    lower_value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<u64>,
}

/// Writes the figures: a benchmark for each test or role, with measures such as `rss-peak`, in bytes.
///
/// # Errors
///
/// What `out` says; of kind `InvalidInput` where two names are the same in their first 1024 characters.
pub fn write(figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let mut benchmarks: BTreeMap<String, BTreeMap<String, Metric>> = BTreeMap::new();
    for figure in &figures.figures {
        let name = match &figures.suite {
            Some(suite) => format!("{suite}: {}", figure.subject),
            None => figure.subject.clone(),
        };
        let name: String = name.chars().take(MAX_NAME_CHARACTERS).collect();
        let metric = Metric {
            value: figure.bytes,
            lower_value: figure.bytes_lower,
            upper_value: figure.bytes_upper,
        };
        let measure = figure.measure.word().replace('_', "-");
        if benchmarks.entry(name).or_default().insert(measure, metric).is_some() {
            let message = "two names are the same in their first 1024 characters, which is all that Bencher takes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    serde_json::to_writer_pretty(&mut *out, &benchmarks)?;
    out.write_all(b"\n")
}
