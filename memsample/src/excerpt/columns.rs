//! Batches whose columns or rows are replaced.

use std::io;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};

/// Returns a batch with some columns replaced. Those that it does not have are left out.
pub(super) fn replaced(
    batch: &RecordBatch,
    columns: Vec<(&str, ArrayRef)>,
) -> io::Result<RecordBatch> {
    let mut arrays = batch.columns().to_vec();
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    for (name, column) in columns {
        let index = batch.schema().index_of(name).ok();
        let Some(index) = index else { continue };
        if let (Some(array), Some(field)) = (arrays.get_mut(index), fields.get_mut(index)) {
            *field = Arc::new(Field::new(name, column.data_type().clone(), true));
            *array = column;
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(invalid)
}

/// Returns the runs of rows that are kept, as slices of the batch.
pub(super) fn kept(
    batch: &RecordBatch,
    keep: impl Fn(usize) -> bool,
) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let mut next = 0;
    std::iter::from_fn(move || {
        let begin = (next..rows).find(|&row| keep(row))?;
        next = (begin..rows).find(|&row| !keep(row)).unwrap_or(rows);
        Some(batch.slice(begin, next - begin))
    })
}

pub(super) fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
