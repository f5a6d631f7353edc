//! The table of the tests that ran several times: how many runs, and how far their peaks are apart.

use memsample_input::table::{align_right, lines, plain_table};
use memsample_input::{printable, rounded_size};

use super::fold::shortened;
use crate::results::{Repeated, Spread, TestResults};

/// Columns of a name: with them the table is as wide as a terminal.
const MAX_NAME: usize = 22;
/// Tests that are printed: more cannot be read, and are in the files.
const MAX_ROWS: usize = 50;

/// Returns the table; empty where no test ran several times.
pub(super) fn text(tests: &[TestResults]) -> String {
    let of_test = |test: &TestResults| Some((printable(&test.name), test.repeated.clone()?));
    let repeated: Vec<_> = tests.iter().filter_map(of_test).collect();
    if repeated.is_empty() {
        return String::new();
    }
    let mut table = plain_table();
    let head = ["REPEATED", "RUNS", "RSS MEDIAN", "MIN", "MAX", "PSS MEDIAN", "MIN", "MAX"];
    table.set_header(head);
    for (name, repeated) in repeated.iter().take(MAX_ROWS) {
        let Repeated { repetitions, rss_peak_bytes, pss_peak_bytes, .. } = repeated;
        let mut row = vec![shortened(name, MAX_NAME), repetitions.to_string()];
        row.extend(cells(rss_peak_bytes.as_ref(), *repetitions));
        row.extend(cells(pss_peak_bytes.as_ref(), *repetitions));
        table.add_row(row);
    }
    align_right(&mut table, |column| column > 0);
    let mut text = format!("\n{}", lines(&table));
    if repeated.len() > MAX_ROWS {
        text.push_str(&format!("… and {} more\n", repeated.len() - MAX_ROWS));
    }
    text
}

/// Returns median, minimum and maximum; the number of runs that have a value where some lack it.
fn cells(spread: Option<&Spread>, runs: u64) -> [String; 3] {
    let Some(Spread { count, median, min, max }) = spread else {
        return ["-".to_owned(), "-".to_owned(), "-".to_owned()];
    };
    let of = if *count < runs { format!(" ({count})") } else { String::new() };
    [format!("{}{of}", rounded_size(*median)), rounded_size(*min), rounded_size(*max)]
}
