//! A table as an Arrow IPC file, with the types of the Parquet file.

use std::io::{self, Write};

use arrow_ipc::writer::FileWriter;
use arrow_schema::ArrowError;

use crate::table::Rows;

/// Writes all rows.
///
/// # Errors
///
/// A file cannot be read, or what `out` says.
pub fn write(rows: Rows<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut writer = FileWriter::try_new(out, &rows.schema).map_err(io_error)?;
    rows.for_each(|batch| writer.write(batch).map_err(io_error))?;
    writer.finish().map_err(io_error)
}

/// Keeps the kind of an error of the file system, which says whether the disk is full or the reader went away.
fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}
