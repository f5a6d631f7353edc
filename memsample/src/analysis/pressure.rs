//! How long tasks waited for memory between two instants.

use std::io;
use std::ops::RangeInclusive;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};

use crate::columns::{known, numbers};
use crate::recording::Recording;

/// Returns the part of a span of time in which at least one task waited for memory, and in which all that were not idle
/// did, in percent; `None` where the span has no two readings.
///
/// `span` is in milliseconds since 1970. Source: the totals of `/proc/pressure/memory`.
///
/// # Errors
///
/// The table cannot be read.
pub fn pressure_between(
    recording: &Recording,
    span: RangeInclusive<i64>,
) -> io::Result<Option<(f64, f64)>> {
    let mut ends: Option<[(i64, u64, u64); 2]> = None;
    let columns = ["ts", "psi_some_us", "psi_full_us"];
    for batch in recording.read_table_between("system", &columns, span.clone()) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let some = numbers::<Int64Type>(&batch, "psi_some_us")?;
        let full = numbers::<Int64Type>(&batch, "psi_full_us")?;
        for (row, &ts_ms) in ts.iter().enumerate().filter(|(_, ts)| span.contains(ts)) {
            let Some(waited) = known(some, row) else { continue };
            let reading = (ts_ms, waited, known(full, row).unwrap_or(0));
            let [first, last] = ends.get_or_insert([reading; 2]);
            *first = (*first).min(reading);
            *last = (*last).max(reading);
        }
    }
    Ok(ends.filter(|[first, last]| last.0 > first.0).map(|[first, last]| {
        let micros = first.0.abs_diff(last.0) as f64 * 1000.0;
        let share = |before: u64, after: u64| after.saturating_sub(before) as f64 / micros * 100.0;
        (share(first.1, last.1), share(first.2, last.2))
    }))
}
