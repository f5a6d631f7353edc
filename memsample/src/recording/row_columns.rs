//! The columns of the small tables, encoded one after the other.

use std::io;

use parquet::schema::types::SchemaDescriptor;

use super::page_compressor::PageCompressor;
use super::purpose::Purpose;
use super::run_column::{EncodedColumn, NumberEncoding, RunColumn};
use crate::schema::{Cell, ColumnKind, Field, Fields, Table};

/// Columns of which a file says between which values all are, besides those by which a table is sorted.
const TOLD: [&str; 4] = ["recording", "test", "first_ts", "last_ts"];

/// Encodes rows of the recording `id` as the columns of `table`, of which `fields` are those behind the first.
pub(super) fn encode_rows<R>(
    table: &Table,
    fields: Fields<R>,
    id: &str,
    purpose: Purpose,
    schema: &SchemaDescriptor,
    compressor: &mut PageCompressor,
    rows: &[R],
) -> io::Result<Vec<EncodedColumn>> {
    let columns = table.columns.iter().zip(schema.columns()).enumerate();
    let encode = columns.map(|(index, (column, it))| {
        let field = index.checked_sub(1).and_then(|index| fields.0.get(index));
        // Who looks for a recording, a test or a time need not read the others. What else is looked for is looked for in
        // all of the few rows.
        let tells_range = TOLD.contains(&column.name) || table.sorted_by.contains(&column.name);
        let mut smallest: Option<EncodedColumn> = None;
        for &encoding in encodings(column.kind, purpose) {
            let mut column = RunColumn::new(column, encoding, tells_range);
            push(&mut column, field, id, rows, compressor)?;
            let encoded = column.finish(it.clone(), compressor)?;
            if smallest.as_ref().is_none_or(|(bytes, _)| encoded.0.len() < bytes.len()) {
                smallest = Some(encoded);
            }
        }
        smallest.ok_or_else(|| io::Error::other("a column has no encoding"))
    });
    encode.collect()
}

/// Returns in which ways a column is encoded, of which the smallest is kept.
fn encodings(kind: ColumnKind, purpose: Purpose) -> &'static [NumberEncoding] {
    use NumberEncoding::{Differences, Distinct, Plain};
    match (kind, purpose) {
        (ColumnKind::Text | ColumnKind::Flag, _) | (_, Purpose::Tail | Purpose::SmallTail) => {
            &[Differences]
        }
        _ => &[Differences, Plain, Distinct],
    }
}

/// Adds all rows to a column; without a field it is the one that names the recording.
fn push<R>(
    column: &mut RunColumn,
    field: Option<&Field<R>>,
    id: &str,
    rows: &[R],
    compressor: &mut PageCompressor,
) -> io::Result<()> {
    let Some(field) = field else { return column.push_text(Some(id), rows.len(), compressor) };
    for row in rows {
        match field.value.of(row) {
            Cell::Number(value) => column.push_number(value, 1, compressor)?,
            Cell::Text(text) => column.push_text(text.as_deref(), 1, compressor)?,
            Cell::Flag(flag) => column.push_flag(flag, compressor)?,
        }
    }
    Ok(())
}
