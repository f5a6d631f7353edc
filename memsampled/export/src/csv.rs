//! A table as CSV after RFC 4180: a header, times in ISO 8601, text in quotes, and nothing between commas for null.

use std::io::{self, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use jiff::Timestamp;

use crate::table::Rows;

/// Writes all rows.
///
/// # Errors
///
/// A file cannot be read, or what `out` says.
pub fn write(rows: Rows<'_>, out: &mut impl Write) -> io::Result<()> {
    let names: Vec<&str> = rows.schema.fields().iter().map(|field| field.name().as_str()).collect();
    writeln!(out, "{}", names.join(","))?;
    let mut line = String::new();
    rows.for_each(|batch| {
        for row in 0..batch.num_rows() {
            line.clear();
            for (index, column) in batch.columns().iter().enumerate() {
                if index > 0 {
                    line.push(',');
                }
                if column.is_valid(row) {
                    push(&mut line, column, row)?;
                }
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    })
}

fn push(line: &mut String, column: &ArrayRef, row: usize) -> io::Result<()> {
    match column.data_type() {
        DataType::Int64 => {
            line.push_str(&column.as_primitive::<Int64Type>().value(row).to_string());
        }
        DataType::Int32 => {
            line.push_str(&column.as_primitive::<Int32Type>().value(row).to_string());
        }
        DataType::Boolean => line.push_str(&column.as_boolean().value(row).to_string()),
        DataType::Timestamp(..) => {
            let ts_ms = column.as_primitive::<Millisecond>().value(row);
            let ts = Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)?;
            line.push_str(&format!("{ts:.3}"));
        }
        _ => {
            line.push('"');
            line.push_str(&column.as_string::<i32>().value(row).replace('"', "\"\""));
            line.push('"');
        }
    }
    Ok(())
}
