//! What may belong to an attempt of a test without that being known: it leaves the sums without an upper bound.

use std::io;

use arrow_array::Array;
use arrow_array::types::{Int32Type, TimestampMillisecondType as Millisecond};

use super::test_attempt::TestAttempt;
use crate::columns::numbers;
use crate::recording::Recording;

/// What the kernel reports late is counted within so many ticks after it happened.
const TICKS_AFTER: usize = 4;
/// A report that was lost may have been that of a process of a test.
const COLUMNS: [&str; 4] = ["ts", "unattributed", "events_lost", "exits_lost"];

/// Adds to each attempt how many processes may be of it, and how many reports about processes were lost, while it ran.
pub(super) fn add_unattributed(
    recording: &Recording,
    attempts: &mut [TestAttempt],
) -> io::Result<()> {
    let mut ticks = Vec::new();
    for batch in recording.read_table("ticks", &COLUMNS) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        // A recording of an older version has no such column.
        let counts = COLUMNS.iter().skip(1);
        let counts = counts.filter_map(|name| numbers::<Int32Type>(&batch, name).ok());
        let counts: Vec<_> = counts.collect();
        let of = |row: usize| -> u64 {
            let known = counts.iter().filter(|column| column.is_valid(row));
            known.map(|column| u64::from(column.value(row).unsigned_abs())).sum()
        };
        ticks.extend(ts.iter().enumerate().map(|(row, &ts_ms)| (ts_ms, of(row))));
    }
    ticks.sort_unstable();
    let totals = recording.manifest().totals;
    let all = [totals.unattributed, totals.events_lost, totals.exits_lost];
    let in_ticks: u64 = ticks.iter().map(|(_, count)| count).sum();
    // What was known only after the last tick.
    let after_last = all.into_iter().fold(0, u64::saturating_add).saturating_sub(in_ticks);
    for attempt in attempts {
        let first = ticks.partition_point(|&(ts_ms, _)| ts_ms < attempt.begin_ms);
        let last = ticks.partition_point(|&(ts_ms, _)| ts_ms <= attempt.end_ms);
        let end = last + TICKS_AFTER;
        let during = ticks.get(first..end.min(ticks.len())).unwrap_or_default();
        attempt.unattributed = during.iter().map(|(_, count)| count).sum();
        if end > ticks.len() {
            attempt.unattributed = attempt.unattributed.saturating_add(after_last);
        }
    }
    Ok(())
}
