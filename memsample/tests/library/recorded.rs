//! What the files of a recording hold.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use memsample::{Metric, Recording};

pub(crate) fn batches(recording: &Recording, table: &str) -> Vec<RecordBatch> {
    let schema = memsample::schema::tables().into_iter().find(|known| known.name == table).unwrap();
    let columns: Vec<&str> = schema.columns.iter().map(|column| column.name).collect();
    recording.read_table(table, &columns).map(Result::unwrap).collect()
}

pub(crate) fn int64(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

pub(crate) fn int32(batch: &RecordBatch, column: &str, row: usize) -> i32 {
    batch.column_by_name(column).unwrap().as_primitive::<Int32Type>().value(row)
}

pub(crate) fn timestamp(batch: &RecordBatch, row: usize) -> i64 {
    batch.column_by_name("ts").unwrap().as_primitive::<TimestampMillisecondType>().value(row)
}

pub(crate) fn string(batch: &RecordBatch, column: &str, row: usize) -> String {
    batch.column_by_name(column).unwrap().as_string::<i32>().value(row).to_owned()
}

/// Every sample, by time and pid: the command name and the metrics.
pub(crate) type Rows = BTreeMap<(i64, i32), (String, [Option<i64>; Metric::COUNT])>;

pub(crate) fn rows(recording: &Recording) -> Rows {
    let mut rows = Rows::new();
    for batch in batches(recording, "samples") {
        for row in 0..batch.num_rows() {
            let metrics = Metric::ALL.map(|metric| int64(&batch, metric.name(), row));
            let key = (timestamp(&batch, row), int32(&batch, "pid", row));
            let before = rows.insert(key, (string(&batch, "comm", row), metrics));
            assert!(before.is_none(), "two samples of {key:?}");
        }
    }
    rows
}

/// Checks that what the tables say of each other is true.
pub(crate) fn check_consistency(recording: &Recording) {
    let totals = recording.manifest().totals;
    let mut samples_of_process = BTreeMap::<i64, (i64, i64)>::new();
    let mut samples_at = BTreeMap::<i64, i32>::new();
    let mut last_key = (0, 0);
    for batch in batches(recording, "samples") {
        for row in 0..batch.num_rows() {
            let process = int64(&batch, "process", row).unwrap();
            let ts = timestamp(&batch, row);
            // Sorted within a row group, and a row group ends no process twice.
            if (process, ts) < last_key {
                assert!(ts > last_key.1 || process < last_key.0);
            }
            last_key = (process, ts);
            let (count, peak) = samples_of_process.entry(process).or_default();
            *count += 1;
            *peak = (*peak).max(int64(&batch, "rss_bytes", row).unwrap());
            *samples_at.entry(ts).or_default() += 1;
        }
    }
    let (mut processes, mut unsampled) = (0, 0);
    for batch in batches(recording, "processes") {
        for row in 0..batch.num_rows() {
            processes += 1;
            let process = int64(&batch, "process", row).unwrap();
            // One that lived between two ticks has none.
            let sampled = samples_of_process.remove(&process);
            unsampled += u64::from(sampled.is_none());
            let (count, peak) = sampled.map_or((0, None), |(count, peak)| (count, Some(peak)));
            assert_eq!(int64(&batch, "samples", row), Some(count));
            assert_eq!(int64(&batch, "rss_max_bytes", row), peak);
        }
    }
    assert_eq!(
        samples_of_process,
        BTreeMap::new(),
        "samples of processes that are not in the table"
    );
    assert_eq!((totals.processes, totals.unsampled), (processes, unsampled));
    assert_eq!(
        totals.samples,
        samples_at.values().map(|&count| u64::from(count.unsigned_abs())).sum::<u64>()
    );
    let mut ticks = 0;
    for batch in batches(recording, "ticks") {
        for row in 0..batch.num_rows() {
            ticks += 1;
            let written = int32(&batch, "processes_read", row) - int32(&batch, "dropped", row);
            assert_eq!(samples_at.remove(&timestamp(&batch, row)).unwrap_or(0), written);
        }
    }
    assert_eq!((totals.ticks, samples_at.len()), (ticks, 0));
}
