//! The columns of a small table, each with how its value is taken from a row.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
};

use super::table::{Column, ColumnKind, RECORDING, Table};

/// The columns of a table whose rows are `R`.
pub(crate) struct Fields<R: 'static>(pub(crate) &'static [Field<R>]);

impl<R> Clone for Fields<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Fields<R> {}

/// One column, and how its value is taken from a row.
pub(crate) struct Field<R> {
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) value: Value<R>,
}

/// A value of a row, by the type of its column.
pub(crate) enum Value<R> {
    Timestamp(fn(&R) -> i64),
    OptionalTimestamp(fn(&R) -> Option<i64>),
    Int64(fn(&R) -> u64),
    OptionalInt64(fn(&R) -> Option<u64>),
    /// A difference, which may be negative.
    Signed(fn(&R) -> i64),
    OptionalSigned(fn(&R) -> Option<i64>),
    Int32(fn(&R) -> i32),
    OptionalInt32(fn(&R) -> Option<i32>),
    Text(fn(&R) -> Cow<'_, str>),
    OptionalText(fn(&R) -> Option<Cow<'_, str>>),
    Flag(fn(&R) -> bool),
}

impl<R> Fields<R> {
    /// Returns a table of a recording, which begins with the column that names the recording.
    pub(crate) fn table(
        &self,
        name: &'static str,
        row: &'static str,
        sorted_by: &'static [&'static str],
    ) -> Table {
        let mut table = self.whole_table(name, row, sorted_by);
        table.columns.insert(0, RECORDING);
        table
    }

    /// Returns a table that has no other columns than these.
    pub(crate) fn whole_table(
        &self,
        name: &'static str,
        row: &'static str,
        sorted_by: &'static [&'static str],
    ) -> Table {
        let column = |field: &Field<R>| {
            let (kind, nullable) = match field.value {
                Value::Timestamp(_) => (ColumnKind::Timestamp, false),
                Value::OptionalTimestamp(_) => (ColumnKind::Timestamp, true),
                Value::Int64(_) | Value::Signed(_) => (ColumnKind::Int64, false),
                Value::OptionalInt64(_) | Value::OptionalSigned(_) => (ColumnKind::Int64, true),
                Value::Int32(_) => (ColumnKind::Int32, false),
                Value::OptionalInt32(_) => (ColumnKind::Int32, true),
                Value::Text(_) => (ColumnKind::Text, false),
                Value::OptionalText(_) => (ColumnKind::Text, true),
                Value::Flag(_) => (ColumnKind::Flag, false),
            };
            Column {
                name: field.name,
                kind,
                nullable,
                source: field.source,
                meaning: field.meaning,
            }
        };
        Table { name, row, sorted_by, columns: self.0.iter().map(column).collect() }
    }

    /// Turns rows into columns: of a table of a recording those behind the first, which names the recording.
    pub(crate) fn arrays(&self, rows: &[R]) -> Vec<ArrayRef> {
        self.0.iter().map(|field| field.value.array(rows)).collect()
    }
}

/// What a column has in one row.
pub(crate) enum Cell<'a> {
    /// A number or an instant.
    Number(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Flag(bool),
}

impl<R> Value<R> {
    /// Returns what the column has in a row.
    pub(crate) fn of<'a>(&self, row: &'a R) -> Cell<'a> {
        match self {
            Self::Timestamp(value) | Self::Signed(value) => Cell::Number(Some(value(row))),
            Self::OptionalTimestamp(value) | Self::OptionalSigned(value) => {
                Cell::Number(value(row))
            }
            Self::Int64(value) => Cell::Number(Some(int64(value(row)))),
            Self::OptionalInt64(value) => Cell::Number(value(row).map(int64)),
            Self::Int32(value) => Cell::Number(Some(value(row).into())),
            Self::OptionalInt32(value) => Cell::Number(value(row).map(i64::from)),
            Self::Text(value) => Cell::Text(Some(value(row))),
            Self::OptionalText(value) => Cell::Text(value(row)),
            Self::Flag(value) => Cell::Flag(value(row)),
        }
    }

    fn array(&self, rows: &[R]) -> ArrayRef {
        match self {
            Self::Timestamp(value) => Arc::new(
                TimestampMillisecondArray::from_iter_values(rows.iter().map(value))
                    .with_timezone("UTC"),
            ),
            Self::OptionalTimestamp(value) => {
                let timestamps = rows.iter().map(value).collect::<TimestampMillisecondArray>();
                Arc::new(timestamps.with_timezone("UTC"))
            }
            Self::Int64(value) => {
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| int64(value(row)))))
            }
            Self::OptionalInt64(value) => {
                Arc::new(rows.iter().map(|row| value(row).map(int64)).collect::<Int64Array>())
            }
            Self::Signed(value) => Arc::new(Int64Array::from_iter_values(rows.iter().map(value))),
            Self::OptionalSigned(value) => Arc::new(rows.iter().map(value).collect::<Int64Array>()),
            Self::Int32(value) => Arc::new(Int32Array::from_iter_values(rows.iter().map(value))),
            Self::OptionalInt32(value) => Arc::new(rows.iter().map(value).collect::<Int32Array>()),
            Self::Text(value) => Arc::new(StringArray::from_iter_values(rows.iter().map(value))),
            Self::OptionalText(value) => Arc::new(rows.iter().map(value).collect::<StringArray>()),
            Self::Flag(value) => {
                Arc::new(rows.iter().map(|row| Some(value(row))).collect::<BooleanArray>())
            }
        }
    }
}

/// Parquet's readers agree on signed numbers. No kernel counter comes near the difference.
pub(crate) fn int64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
