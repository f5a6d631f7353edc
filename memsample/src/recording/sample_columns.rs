//! The columns of the table `samples`, encoded from runs of equal rows.

use std::borrow::Cow;
use std::io;

use parquet::schema::types::SchemaDescriptor;

use super::page_compressor::PageCompressor;
use super::run_column::{EncodedColumn, NumberEncoding, RunColumn};
use crate::identity::{Identity, text};
use crate::metric::Metric;
use crate::schema::{Column, Table, int64};
use crate::segment::{SampleRun, Segment};

/// Columns that stand before the metrics: those of the key, and what the image was.
const BEFORE_METRICS: usize = 9;

/// Encodes the columns of the samples of a segment from tick `first` on.
pub(super) fn encode_samples(
    table: &Table,
    id: &str,
    schema: &SchemaDescriptor,
    compressor: &mut PageCompressor,
    segment: &Segment,
    first: u32,
) -> io::Result<Vec<EncodedColumn>> {
    let mut columns: Vec<RunColumn> = table
        .columns
        .iter()
        .map(|column| RunColumn::new(column, encoding_of(column), true))
        .collect();
    segment.for_each_run(first, |run| push(&mut columns, id, run, compressor))?;
    let columns = columns.into_iter().zip(schema.columns());
    columns.map(|(column, it)| column.finish(it.clone(), compressor)).collect()
}

/// Returns how the numbers of a column are smallest.
fn encoding_of(column: &Column) -> NumberEncoding {
    let metric = Metric::ALL.into_iter().find(|metric| metric.name() == column.name);
    match metric {
        // Multiples of a page, which change by anything.
        Some(
            Metric::Rss
            | Metric::Vsize
            | Metric::Shared
            | Metric::Anon
            | Metric::Data
            | Metric::File
            | Metric::Hwm
            | Metric::Pss
            | Metric::Uss,
        ) => NumberEncoding::Plain,
        Some(Metric::Text) => NumberEncoding::Distinct,
        // Counters and instants, and what is 0 of most.
        _ => NumberEncoding::Differences,
    }
}

/// Adds the rows of a run to each column.
fn push(
    columns: &mut [RunColumn],
    id: &str,
    run: &SampleRun<'_>,
    compressor: &mut PageCompressor,
) -> io::Result<()> {
    let rows = run.ticks.len();
    let Identity { process, pid, role, uid, cgroup, .. } = run.identity;
    let comm = run.comm.to_string();
    let cgroup = cgroup.as_deref().map(lossless);
    let (key, metrics) = columns.split_at_mut_checked(BEFORE_METRICS).unwrap_or_default();
    if let [recording, ts, of_process, of_pid, of_comm, of_role, test, of_uid, of_cgroup] = key {
        recording.push_text(Some(id), rows, compressor)?;
        for tick in run.ticks {
            ts.push_number(Some(tick.ts_ms), 1, compressor)?;
        }
        of_process.push_number(Some(int64(process.0)), rows, compressor)?;
        of_pid.push_number(Some(i64::from(*pid)), rows, compressor)?;
        of_comm.push_text(Some(&comm), rows, compressor)?;
        of_role.push_text(Some(role), rows, compressor)?;
        test.push_text(run.test, rows, compressor)?;
        of_uid.push_number(uid.map(i64::from), rows, compressor)?;
        of_cgroup.push_text(cgroup.as_deref(), rows, compressor)?;
    }
    for (files, rows) in run.files() {
        for (column, metric) in metrics.iter_mut().zip(Metric::ALL) {
            let is_present = metric.is_in_every_row() || metric.is_in(files);
            let value = is_present.then(|| int64(run.metrics.get(metric)));
            column.push_number(value, rows, compressor)?;
        }
    }
    Ok(())
}

/// Returns a path as text, without a copy where it is UTF-8.
fn lossless(path: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(path).map_or_else(|_| text(path).into(), Cow::from)
}
