use std::collections::HashMap;
use std::io;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use memsample::Recording;
use serde::{Deserialize, Serialize};

use super::boundary::is_ours;

/// How the processes of an attempt are known in its recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    /// The name of its control groups, which no other attempt has.
    pub(super) group: String,
    /// The parent of all that was started in its boundary, which is none of its processes.
    pub(super) init: i32,
    /// When it was started and when all had ended, in nanoseconds since boot.
    pub(super) began_ns: u64,
    /// The same for its end.
    pub(super) ended_ns: u64,
}

/// A process image that belongs to an attempt.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The key of the row in `processes`.
    pub(super) process: i64,
    /// Which of the traces.
    pub(super) attempt: usize,
    /// Which process of the attempt: images of one process have the same.
    pub(super) identity: (i32, u64),
    pub(super) role: String,
    pub(super) samples: u64,
    /// The largest resident set that it is known to have had.
    pub(super) rss_lower: Option<u64>,
    /// The largest resident set that it can have had, but for what CPUs keep to themselves.
    pub(super) rss_upper: Option<u64>,
}

/// A row of `processes`.
struct Row {
    process: i64,
    pid: i32,
    ppid: i32,
    start_ns: u64,
    group: Option<String>,
    is_ours: bool,
    role: String,
    samples: u64,
    lower: Option<u64>,
    exit_hwm: Option<u64>,
}

const COLUMNS: [&str; 12] = [
    "process",
    "pid",
    "ppid",
    "start_ns",
    "cgroup",
    "comm",
    "cmdline",
    "role",
    "samples",
    "rss_peak_bytes",
    "hwm_bytes",
    "exit_hwm_bytes",
];

/// Finds the process images of each attempt: those in its control group, and those that descend from
/// its init. Of the images of our own programs none counts.
///
/// Memory is taken for each process of the recording, about 300 bytes.
///
/// # Errors
///
/// The table of processes cannot be read.
pub(super) fn images(recording: &Recording, traces: &[Trace]) -> io::Result<Vec<Image>> {
    let mut rows = Vec::new();
    for batch in recording.read_table("processes", &COLUMNS) {
        read_rows(&batch?, &mut rows)?;
    }
    let tree = Tree::new(&rows, traces);
    let found = rows.iter().enumerate().filter(|(_, row)| !row.is_ours);
    let images = found.filter_map(|(index, row)| {
        Some(Image {
            process: row.process,
            attempt: tree.attempt_of(index, 0)?,
            identity: (row.pid, row.start_ns),
            role: row.role.clone(),
            samples: row.samples,
            rss_lower: row.lower.max(row.exit_hwm),
            rss_upper: row.exit_hwm,
        })
    });
    Ok(images.collect())
}

/// Ancestors that are looked at of one process, at most; a crafted recording may go round.
const MAX_DEPTH: u32 = 1000;

/// Who descends from whom, and which attempts are near.
struct Tree<'a> {
    rows: &'a [Row],
    traces: &'a [Trace],
    by_group: HashMap<&'a str, usize>,
    by_init: HashMap<i32, Vec<usize>>,
    /// The rows of each pid, by start.
    by_pid: HashMap<i32, Vec<usize>>,
}

impl<'a> Tree<'a> {
    fn new(rows: &'a [Row], traces: &'a [Trace]) -> Self {
        let by_group =
            traces.iter().enumerate().map(|(index, trace)| (trace.group.as_str(), index)).collect();
        let mut by_init: HashMap<i32, Vec<usize>> = HashMap::new();
        for (index, trace) in traces.iter().enumerate() {
            by_init.entry(trace.init).or_default().push(index);
        }
        let mut by_pid: HashMap<i32, Vec<usize>> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_pid.entry(row.pid).or_default().push(index);
        }
        let start = |&index: &usize| rows.get(index).map(|row| row.start_ns);
        by_pid.values_mut().for_each(|indices| indices.sort_by_key(start));
        Self { rows, traces, by_group, by_init, by_pid }
    }

    fn attempt_of(&self, index: usize, depth: u32) -> Option<usize> {
        let row = self.rows.get(index)?;
        // Groups that a test makes are below its own.
        let of_group = row.group.as_deref().into_iter().flat_map(|group| group.split('/'));
        if let Some(&attempt) = of_group.filter_map(|part| self.by_group.get(part)).next() {
            return Some(attempt);
        }
        let of_init = self.by_init.get(&row.ppid).into_iter().flatten().copied();
        let mut lived = of_init.filter(|&attempt| {
            self.traces.get(attempt).is_some_and(|trace| {
                // A start is known in steps of a clock tick.
                (trace.began_ns.saturating_sub(CLOCK_TICK_NS)..=trace.ended_ns)
                    .contains(&row.start_ns)
            })
        });
        if let Some(attempt) = lived.next() {
            return Some(attempt);
        }
        let parents = self.by_pid.get(&row.ppid)?;
        let older = |&&parent: &&usize| {
            self.rows.get(parent).is_some_and(|parent| parent.start_ns <= row.start_ns)
        };
        let &parent = parents.iter().rev().find(older).filter(|_| depth < MAX_DEPTH)?;
        self.attempt_of(parent, depth + 1)
    }
}

/// The longest clock tick of Linux.
const CLOCK_TICK_NS: u64 = 10_000_000;

fn read_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> io::Result<()> {
    let process = numbers::<Int64Type>(batch, "process")?;
    let (pid, ppid) = (numbers::<Int32Type>(batch, "pid")?, numbers::<Int32Type>(batch, "ppid")?);
    let start = numbers::<Int64Type>(batch, "start_ns")?;
    let samples = numbers::<Int64Type>(batch, "samples")?;
    let (peak, hwm, exit_hwm) = (
        numbers::<Int64Type>(batch, "rss_peak_bytes")?,
        numbers::<Int64Type>(batch, "hwm_bytes")?,
        numbers::<Int64Type>(batch, "exit_hwm_bytes")?,
    );
    let (group, comm) = (strings(batch, "cgroup")?, strings(batch, "comm")?);
    let (cmdline, role) = (strings(batch, "cmdline")?, strings(batch, "role")?);
    let text =
        |column: &StringArray, row| column.is_valid(row).then(|| column.value(row).to_owned());
    for row in 0..batch.num_rows() {
        rows.push(Row {
            process: process.value(row),
            pid: pid.value(row),
            ppid: ppid.value(row),
            start_ns: start.value(row).unsigned_abs(),
            group: text(group, row),
            is_ours: is_ours(comm.value(row), text(cmdline, row).as_deref()),
            role: role.value(row).to_owned(),
            samples: samples.value(row).unsigned_abs(),
            lower: known(peak, row).max(known(hwm, row)),
            exit_hwm: known(exit_hwm, row),
        });
    }
    Ok(())
}

/// Returns a number of a column, where there is one.
pub(super) fn known(column: &PrimitiveArray<Int64Type>, row: usize) -> Option<u64> {
    column.is_valid(row).then(|| column.value(row).unsigned_abs())
}

pub(super) fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> io::Result<&'a PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(|| missing(name))
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> io::Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt());
    column.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the recording has no column `{name}`"))
}
