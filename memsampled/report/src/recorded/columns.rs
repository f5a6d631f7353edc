//! The columns of a batch of rows.

use std::io;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, RecordBatch, StringArray};

/// Returns a column of numbers.
pub(super) fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> io::Result<&'a PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<T>());
    column.ok_or_else(|| missing(name))
}

/// Returns a column of texts.
pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> io::Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| missing(name))
}

/// Returns a column of times.
pub(super) fn times<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> io::Result<&'a PrimitiveArray<TimestampMillisecondType>> {
    numbers(batch, name)
}

/// Returns a number; `None` where it is null, or where the recording is older than its column.
pub(super) fn known(column: Option<&PrimitiveArray<Int64Type>>, row: usize) -> Option<u64> {
    let column = column.filter(|column| column.is_valid(row))?;
    Some(column.value(row).unsigned_abs())
}

/// Returns a text; `None` where it is null.
pub(super) fn text(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn missing(name: &str) -> io::Error {
    let message = format!("the column `{name}` is missing, or of another type");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
