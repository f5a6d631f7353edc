//! The columns of the table `samples`, encoded from runs of equal rows.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::schema::types::SchemaDescriptor;
use zstd::bulk::Compressor;

use super::run_column::RunColumn;
use crate::identity::{Identity, text};
use crate::metric::Metric;
use crate::schema::{Table, int64};
use crate::segment::{SampleRun, Segment};

/// Columns that stand before the metrics: those of the key, and what the image was.
const BEFORE_METRICS: usize = 9;

/// Encodes the columns of the samples of a segment from tick `first` on.
pub(super) fn encode_samples(
    table: &Table,
    id: &str,
    schema: &SchemaDescriptor,
    compression: Compression,
    segment: &Segment,
    first: u32,
) -> io::Result<Vec<(Bytes, ColumnCloseResult)>> {
    let level = match compression {
        Compression::ZSTD(level) => level.compression_level(),
        other => return Err(io::Error::other(format!("samples are not compressed by {other}"))),
    };
    // One for all pages: to set one up costs more than to compress a page that says little.
    let mut zstd = Compressor::new(level)?;
    let mut columns: Vec<RunColumn> = table.columns.iter().map(RunColumn::new).collect();
    segment.for_each_run(first, |run| push(&mut columns, id, run, &mut zstd))?;
    let columns = columns.into_iter().zip(schema.columns());
    columns.map(|(column, it)| column.finish(it.clone(), compression, &mut zstd)).collect()
}

/// Adds the rows of a run to each column.
fn push(
    columns: &mut [RunColumn],
    id: &str,
    run: &SampleRun<'_>,
    zstd: &mut Compressor<'_>,
) -> io::Result<()> {
    let rows = run.ticks.len();
    let Identity { process, pid, role, uid, cgroup, .. } = run.identity;
    let comm = run.comm.to_string();
    let cgroup = cgroup.as_deref().map(lossless);
    let (key, metrics) = columns.split_at_mut_checked(BEFORE_METRICS).unwrap_or_default();
    if let [recording, ts, of_process, of_pid, of_comm, of_role, test, of_uid, of_cgroup] = key {
        recording.push_text(Some(id), rows, zstd)?;
        for tick in run.ticks {
            ts.push_number(Some(tick.ts_ms), 1, zstd)?;
        }
        of_process.push_number(Some(int64(process.0)), rows, zstd)?;
        of_pid.push_number(Some(i64::from(*pid)), rows, zstd)?;
        of_comm.push_text(Some(&comm), rows, zstd)?;
        of_role.push_text(Some(role), rows, zstd)?;
        test.push_text(run.test, rows, zstd)?;
        of_uid.push_number(uid.map(i64::from), rows, zstd)?;
        of_cgroup.push_text(cgroup.as_deref(), rows, zstd)?;
    }
    for (files, rows) in run.files() {
        for (column, metric) in metrics.iter_mut().zip(Metric::ALL) {
            let is_present = metric.is_in_every_row() || metric.is_in(files);
            let value = is_present.then(|| int64(run.metrics.get(metric)));
            column.push_number(value, rows, zstd)?;
        }
    }
    Ok(())
}

/// Returns a path as text, without a copy where it is UTF-8.
fn lossless(path: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(path).map_or_else(|_| text(path).into(), Cow::from)
}
