//! A table of a recording and its columns, as data.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// One table of a recording: the file `NAME.parquet`, continued in `NAME-0002.parquet` and so on.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name of the file, without extension.
    pub name: &'static str,
    /// What one row stands for.
    pub row: &'static str,
    /// The columns by which the rows of each row group are sorted, ascending.
    pub sorted_by: &'static [&'static str],
    /// The columns, in the order of the file.
    pub columns: Vec<Column>,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name, which ends in the unit.
    pub name: &'static str,
    /// The type of the values.
    pub kind: ColumnKind,
    /// Whether a value may be absent, which always means "not read" or "not known", never zero.
    pub nullable: bool,
    /// Where the number comes from.
    pub source: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// The column with which every table begins.
pub(super) const RECORDING: Column = Column {
    name: "recording",
    kind: ColumnKind::Text,
    nullable: false,
    source: "recorder",
    meaning: "Which recording the row is of: `id` in `recording.json`. The same in every row of a recording, and in no other recording: join by it too where there are several.",
};

/// The types of columns, chosen so that every common Parquet reader knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Milliseconds since 1970 in UTC: `TIMESTAMP(MILLIS, isAdjustedToUTC)`.
    Timestamp,
    /// A signed 64-bit number.
    Int64,
    /// A signed 32-bit number.
    Int32,
    /// Text in UTF-8; bytes that are not are written as `\xNN`.
    Text,
    /// True or false.
    Flag,
}

impl ColumnKind {
    fn arrow_type(self) -> DataType {
        match self {
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Text => DataType::Utf8,
            Self::Flag => DataType::Boolean,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "TIMESTAMP ms UTC",
            Self::Int64 => "INT64",
            Self::Int32 => "INT32",
            Self::Text => "STRING",
            Self::Flag => "BOOLEAN",
        }
    }
}

impl Table {
    /// Returns the Arrow schema.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        let field =
            |column: &Column| Field::new(column.name, column.kind.arrow_type(), column.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }
}
