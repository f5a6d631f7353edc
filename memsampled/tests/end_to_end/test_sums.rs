//! What the rows of a recording say that each test used.

use std::collections::HashMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use memsample::Recording;

/// Returns the largest sum of resident sets of each test, in bytes: `SELECT test, max(sum) FROM (SELECT
/// test, ts, sum(rss_bytes) … GROUP BY ALL) GROUP BY test`. Each image of a test is shown to `see` first,
/// by its command name.
pub(crate) fn sums_by_test(recording: &Recording, see: impl Fn(&str)) -> HashMap<String, i64> {
    let mut test_of = HashMap::new();
    for batch in recording.read_table("processes", &["process", "comm", "test"]) {
        let batch = batch.unwrap();
        let process = batch["process"].as_primitive::<Int64Type>();
        let (comm, test) = (batch["comm"].as_string::<i32>(), batch["test"].as_string::<i32>());
        for row in (0..batch.num_rows()).filter(|&row| test.is_valid(row)) {
            see(comm.value(row));
            test_of.insert(process.value(row), test.value(row).to_owned());
        }
    }
    let mut sums: HashMap<(String, i64), i64> = HashMap::new();
    for batch in recording.read_table("samples", &["ts", "process", "rss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>().values();
        let process = batch["process"].as_primitive::<Int64Type>().values();
        let rss = batch["rss_bytes"].as_primitive::<Int64Type>().values();
        for ((ts, process), rss) in ts.iter().zip(process).zip(rss) {
            if let Some(test) = test_of.get(process) {
                *sums.entry((test.clone(), *ts)).or_default() += rss;
            }
        }
    }
    let mut peaks: HashMap<String, i64> = HashMap::new();
    for ((test, _), sum) in sums {
        let peak = peaks.entry(test).or_default();
        *peak = sum.max(*peak);
    }
    peaks
}
