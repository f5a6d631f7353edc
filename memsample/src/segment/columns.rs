//! The rows of a segment, one by one, as Arrow batches: what the encoded runs are compared with.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{BooleanBufferBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};

use super::sampled_tick::SampledTick;
use super::series::{EqualRows, Series};
use crate::identity::{Identity, text};
use crate::metric::{Files, Metric};
use crate::schema::int64;

/// Rows in one Arrow batch: large enough that the cost of a batch does not show, and 3 MiB of memory.
const BATCH_ROWS: usize = 16 * 1024;

/// The sets of files whose metrics may be absent from a row, each with a set of bits of its own.
const OPTIONAL_FILES: [Files; 8] = [
    Files::STATM,
    Files::STATM.union(Files::SMAPS_ANON),
    Files::STATUS,
    Files::STAT,
    Files::STATUS.union(Files::SMAPS_SWAP),
    Files::SMAPS_ROLLUP.union(Files::SMAPS),
    Files::SMAPS_ROLLUP.union(Files::SMAPS_PSS),
    Files::SMAPS_ROLLUP.union(Files::SMAPS_SWAP_PSS),
];

/// The rows of a segment, process after process, as Arrow batches of the `samples` table.
pub(crate) struct SampleBatches<'a> {
    ticks: &'a [SampledTick],
    rows: Box<dyn Iterator<Item = (&'a Series, EqualRows)> + 'a>,
    /// A run that did not fit into the batch before.
    rest: Option<(&'a Series, EqualRows)>,
}

impl<'a> SampleBatches<'a> {
    pub(super) fn new(ticks: &'a [SampledTick], series: Vec<&'a Series>, first: u32) -> Self {
        let end = ticks.len() as u32;
        let rows = series.into_iter().flat_map(move |series| {
            series.equal_rows(end).filter_map(move |mut run| {
                run.ticks.start = run.ticks.start.max(first);
                (!run.ticks.is_empty()).then_some((series, run))
            })
        });
        Self { ticks, rows: Box::new(rows), rest: None }
    }
}

impl Iterator for SampleBatches<'_> {
    type Item = Vec<ArrayRef>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns = Columns::new();
        while columns.ts.len() < BATCH_ROWS {
            let Some((series, mut run)) = self.rest.take().or_else(|| self.rows.next()) else {
                break;
            };
            let free = (BATCH_ROWS - columns.ts.len()) as u32;
            if run.ticks.len() > free as usize {
                let middle = run.ticks.start + free;
                let (ticks, own_files, metrics) =
                    (middle..run.ticks.end, run.own_files, run.metrics);
                run.ticks.end = middle;
                self.rest = Some((series, EqualRows { ticks, own_files, metrics }));
            }
            columns.push(self.ticks, series, &run);
        }
        if columns.ts.is_empty() { None } else { Some(columns.finish()) }
    }
}

/// The columns of a batch while it is filled.
struct Columns {
    ts: Vec<i64>,
    process: Vec<i64>,
    pid: Vec<i32>,
    comm: StringBuilder,
    role: StringBuilder,
    test: StringBuilder,
    uid: Vec<Option<i64>>,
    cgroup: StringBuilder,
    metrics: [Vec<i64>; Metric::COUNT],
    /// For each of [`OPTIONAL_FILES`], the rows for which it was read.
    present: [BooleanBufferBuilder; OPTIONAL_FILES.len()],
}

impl Columns {
    fn new() -> Self {
        Self {
            ts: Vec::with_capacity(BATCH_ROWS),
            process: Vec::with_capacity(BATCH_ROWS),
            pid: Vec::with_capacity(BATCH_ROWS),
            comm: StringBuilder::with_capacity(BATCH_ROWS, 8 * BATCH_ROWS),
            role: StringBuilder::with_capacity(BATCH_ROWS, 16 * BATCH_ROWS),
            test: StringBuilder::with_capacity(BATCH_ROWS, 0),
            uid: Vec::with_capacity(BATCH_ROWS),
            cgroup: StringBuilder::with_capacity(BATCH_ROWS, 32 * BATCH_ROWS),
            metrics: std::array::from_fn(|_| Vec::with_capacity(BATCH_ROWS)),
            present: std::array::from_fn(|_| BooleanBufferBuilder::new(BATCH_ROWS)),
        }
    }

    fn push(&mut self, ticks: &[SampledTick], series: &Series, run: &EqualRows) {
        let count = run.ticks.len();
        let sampled = ticks.get(as_usize(&run.ticks)).unwrap_or_default();
        self.ts.extend(sampled.iter().map(|tick| tick.ts_ms));
        let Identity { process, pid, .. } = series.identity();
        fill(&mut self.process, int64(process.0), count);
        fill(&mut self.pid, *pid, count);
        let mut tick = run.ticks.start;
        while tick < run.ticks.end {
            let (Identity { role, uid, cgroup, .. }, until) = series.identity_at(tick);
            let until = until.min(run.ticks.end);
            let cgroup = cgroup.as_deref().map(lossless);
            fill(&mut self.uid, uid.map(i64::from), (until - tick) as usize);
            (tick..until).for_each(|_| {
                self.role.append_value(role);
                self.cgroup.append_option(cgroup.as_deref());
            });
            tick = until;
        }
        let mut tick = run.ticks.start;
        while tick < run.ticks.end {
            let (comm, until) = series.comm_at(tick);
            let until = until.min(run.ticks.end);
            let text = comm.to_string();
            (tick..until).for_each(|_| self.comm.append_value(&text));
            tick = until;
        }
        let mut tick = run.ticks.start;
        while tick < run.ticks.end {
            let (test, until) = series.test_at(tick);
            let until = until.min(run.ticks.end);
            (tick..until).for_each(|_| self.test.append_option(test));
            tick = until;
        }
        for (column, metric) in self.metrics.iter_mut().zip(Metric::ALL) {
            fill(column, int64(run.metrics.get(metric)), count);
        }
        for (present, any_of) in self.present.iter_mut().zip(OPTIONAL_FILES) {
            match run.own_files {
                Some(files) => present.append_n(count, files.intersects(any_of)),
                None => {
                    sampled.iter().for_each(|tick| present.append(tick.files.intersects(any_of)))
                }
            }
        }
    }

    /// Returns the columns of `samples` behind the first, which names the recording.
    fn finish(mut self) -> Vec<ArrayRef> {
        let present = self.present.map(|mut present| NullBuffer::new(present.finish()));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMillisecondArray::from(self.ts).with_timezone("UTC")),
            Arc::new(Int64Array::from(self.process)),
            Arc::new(Int32Array::from(self.pid)),
            Arc::new(self.comm.finish()),
            Arc::new(self.role.finish()),
            Arc::new(self.test.finish()),
            Arc::new(Int64Array::from(self.uid)),
            Arc::new(self.cgroup.finish()),
        ];
        for (values, metric) in self.metrics.into_iter().zip(Metric::ALL) {
            let nulls =
                OPTIONAL_FILES.iter().zip(&present).find(|&(&any_of, _)| any_of == metric.files());
            let nulls = nulls.map(|(_, present)| present.clone());
            columns.push(Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls)));
        }
        columns
    }
}

/// Returns a path as text, without a copy where it is UTF-8.
fn lossless(path: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(path).map_or_else(|_| text(path).into(), Cow::from)
}

fn fill<T: Clone>(column: &mut Vec<T>, value: T, count: usize) {
    column.resize(column.len() + count, value);
}

fn as_usize(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
