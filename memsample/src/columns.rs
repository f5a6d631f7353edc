//! Typed columns of the batches that [`Recording::read_table`](crate::Recording::read_table) returns.
//!
//! A column that is absent or of another type is an error of kind `InvalidData` which names it: what is damaged must not
//! read as nothing. Columns that came later are absent from older recordings: who wants those too takes the error for
//! null.

use std::io;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
};

/// Returns a column of numbers.
///
/// # Errors
///
/// It is absent, or of another type.
pub fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> io::Result<&'a PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(|| missing(name))
}

/// Returns a column of text.
///
/// # Errors
///
/// It is absent, or of another type.
pub fn strings<'a>(batch: &'a RecordBatch, name: &str) -> io::Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt());
    column.ok_or_else(|| missing(name))
}

/// Returns a column of truth values.
pub(crate) fn booleans<'a>(batch: &'a RecordBatch, name: &str) -> io::Result<&'a BooleanArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_boolean_opt());
    column.ok_or_else(|| missing(name))
}

/// Returns the processes of a batch of `samples`, each with its rows: those of one are adjacent.
pub(crate) fn runs(process: &[i64]) -> impl Iterator<Item = (u64, Range<usize>)> + '_ {
    let mut begin = 0;
    process.chunk_by(|one, next| one == next).filter_map(move |run| {
        let rows = begin..begin + run.len();
        begin = rows.end;
        Some((run.first()?.unsigned_abs(), rows))
    })
}

/// Returns a number of a column; `None` where it is null.
#[must_use]
#[inline]
pub fn known(column: &PrimitiveArray<Int64Type>, row: usize) -> Option<u64> {
    column.is_valid(row).then(|| column.value(row).unsigned_abs())
}

/// Returns the page faults of a row, minor and major ones together; `None` where one is null.
#[must_use]
pub(crate) fn page_faults(
    minor: &PrimitiveArray<Int64Type>,
    major: &PrimitiveArray<Int64Type>,
    row: usize,
) -> Option<u64> {
    let (minor, major) = known(minor, row).zip(known(major, row))?;
    Some(minor.saturating_add(major))
}

/// Returns a text of a column; `None` where it is null.
#[must_use]
pub fn text_at(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no column `{name}` of its type"))
}
