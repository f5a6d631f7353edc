//! What the rows of a recording say that each test used.

use std::collections::{HashMap, HashSet};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;

/// Returns the largest sum of resident sets of each test, in bytes: `SELECT test, max(sum) FROM (SELECT
/// test, ts, sum(rss_bytes) … GROUP BY ALL) GROUP BY test`. Each image of a test is shown to `see` first,
/// by its command name.
pub(crate) fn sums_by_test(recording: &Recording, see: impl Fn(&str)) -> HashMap<String, i64> {
    let mut test_of = HashMap::new();
    let mut executed = HashSet::new();
    let mut forked = Vec::new();
    let columns = ["process", "pid", "start_ns", "exec", "comm", "test"];
    for batch in recording.read_table("processes", &columns) {
        let batch = batch.unwrap();
        let process = batch["process"].as_primitive::<Int64Type>();
        let pid = batch["pid"].as_primitive::<Int32Type>();
        let start_ns = batch["start_ns"].as_primitive::<Int64Type>();
        let exec = batch["exec"].as_primitive::<Int32Type>();
        let (comm, test) = (batch["comm"].as_string::<i32>(), batch["test"].as_string::<i32>());
        for row in (0..batch.num_rows()).filter(|&row| test.is_valid(row)) {
            see(comm.value(row));
            test_of.insert(process.value(row), test.value(row).to_owned());
            let its = (pid.value(row), start_ns.value(row));
            match exec.value(row) {
                0 => forked.push((process.value(row), its)),
                _ => _ = executed.insert(its),
            }
        }
    }
    // Between its fork and its first program it shows the memory of its parent.
    for (process, its) in forked {
        if executed.contains(&its) {
            test_of.remove(&process);
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
