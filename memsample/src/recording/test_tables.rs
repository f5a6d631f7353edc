//! Writes and reads the tables about the tests of a run, each as a whole.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_array::RecordBatch;
use memsample_beneath::open_regular;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::parquet_file::{ParquetFile, io_error};
use super::purpose::Purpose;
use super::table::properties;
use crate::replace_file::replace_file;
use crate::schema::tests::{self, AttemptKey, TestRoleRow, TestRow};
use crate::schema::{Fields, Table};

/// Writes `tests.parquet` and `test_roles.parquet` into a directory. Each is there whole or not at all, and without
/// rows where there are none.
///
/// # Errors
///
/// A file cannot be written. What was there before is as it was.
pub fn write_test_tables(
    directory: &Path,
    mut tests: Vec<TestRow>,
    mut roles: Vec<TestRoleRow>,
) -> io::Result<()> {
    tests.sort_by(|a, b| order(&a.key).cmp(&order(&b.key)));
    // Stable: the roles of an attempt stay in their order.
    roles.sort_by(|a, b| order(&a.key).cmp(&order(&b.key)));
    write(directory, &tests::tests(), tests::TEST_FIELDS, &tests)?;
    write(directory, &tests::test_roles(), tests::ROLE_FIELDS, &roles)
}

/// Reads some columns of a table that [`write_test_tables`] wrote into `directory`, batch by batch. A column that the file
/// does not have is not in the batches.
///
/// # Errors
///
/// The file cannot be opened, or is damaged; each batch is an error where it is.
pub fn read_test_table(
    directory: &Path,
    name: &str,
    columns: &[&str],
) -> io::Result<impl Iterator<Item = io::Result<RecordBatch>>> {
    let path = directory.join(format!("{name}.parquet"));
    let file = open_regular(&path).map_err(|error| named(&path, &error))?;
    read_test_table_of(file, &path, columns)
}

/// The same of a file that is open; `path` is where a person knows it.
///
/// # Errors
///
/// The file is damaged; each batch is an error where it is.
pub fn read_test_table_of(
    file: File,
    path: &Path,
    columns: &[&str],
) -> io::Result<impl Iterator<Item = io::Result<RecordBatch>> + use<>> {
    let rows =
        ParquetFile::new(file).and_then(|it| it.rows(columns, &(i64::MIN..=i64::MAX), |_| Ok(())));
    rows.map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

fn order(key: &AttemptKey) -> (&str, u32, u32) {
    (&key.test, key.repetition, key.attempt)
}

fn write<R>(directory: &Path, table: &Table, fields: Fields<R>, rows: &[R]) -> io::Result<()> {
    let schema = table.arrow_schema();
    let batch = RecordBatch::try_new(schema.clone(), fields.arrays(rows));
    let batch = batch.map_err(io::Error::other)?;
    let path = directory.join(format!("{}.parquet", table.name));
    replace_file(&path, |file: &File| {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(table, Purpose::SmallTail).build())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(io::BufWriter::new(file), schema, options);
        let mut writer = writer.map_err(io_error)?;
        writer.write(&batch).map_err(io_error)?;
        // Flushes the buffer too.
        writer.finish().map_err(io_error).map(drop)
    })
}
