//! A table that is written once, from the rows of another one.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::SchemaRef;
use memsample_beneath::HeldDirectory;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::KeyValue;

use super::parquet_file::io_error;
use super::purpose::Purpose;
use super::table::{KEY_CHECKPOINT, KEY_PROVENANCE, KEY_SETTLED, Origin, properties};
use crate::columns::numbers;
use crate::schema::Table;

/// A row group ends when what is encoded of it comes to this.
const MAX_GROUP_BYTES: usize = 24 << 20;
/// A row group ends when it has this many rows: those of six hours of a process at 10 Hz, or of an hour of fifty.
const MAX_GROUP_ROWS: usize = 2 << 20;

/// A table that is being written into a directory. Its rows come from another table, in the order of that one: where
/// they go back in the order by which the table is sorted, another row group begins.
pub(crate) struct NewTable {
    file: Option<File>,
    table: Table,
    origin: Option<Origin>,
    writer: Option<(ArrowWriter<BufWriter<File>>, SchemaRef)>,
    last: Option<Key>,
    rows_of_group: usize,
    rows: u64,
}

/// Numbers by which rows are sorted. What is sorted by texts too may be in any order of them.
type Key = (i64, i64);

impl NewTable {
    /// Makes the file of a table. With an `origin` it is a table of that recording; without one a table of a run, whose
    /// rows say themselves what they are of.
    pub(crate) fn create(
        directory: &HeldDirectory,
        table: Table,
        origin: Option<Origin>,
    ) -> io::Result<Self> {
        let file = directory.create_file(format!("{}.parquet", table.name), 0o666)?;
        let (writer, last) = (None, None);
        Ok(Self { file: Some(file), table, origin, writer, last, rows_of_group: 0, rows: 0 })
    }

    /// Adds rows. Columns are taken by name; one that is absent is null, and left out of the whole table where it cannot
    /// be.
    ///
    /// # Errors
    ///
    /// The file cannot be written; or, of kind `InvalidData`, the batch lacks a column that the first one had.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.writer.is_none() {
            let has = |name: &str| batch.column_by_name(name).is_some();
            let names_recording = self.origin.is_some();
            self.table.columns.retain(|column| {
                column.nullable || has(column.name) || (names_recording && column.name == RECORDING)
            });
        }
        let keys = self.keys(batch)?;
        let rows = self.conform(batch)?;
        let mut begin = 0;
        for (row, &key) in keys.iter().enumerate() {
            let goes_back = self.last.is_some_and(|last| key < last);
            let is_full = self.rows_of_group + (row - begin) >= MAX_GROUP_ROWS;
            if goes_back || is_full {
                self.put(&rows.slice(begin, row - begin))?;
                self.end_group()?;
                begin = row;
            }
            self.last = Some(key);
        }
        self.put(&rows.slice(begin, rows.num_rows() - begin))?;
        if self.writer()?.memory_size() >= MAX_GROUP_BYTES {
            self.end_group()?;
        }
        Ok(())
    }

    /// Completes the file, which is on disk then, and returns how many rows it has.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.end_group()?;
        let settled = self.writer()?.flushed_row_groups().len();
        let pair = |key: &str, value: String| KeyValue { key: key.to_owned(), value: Some(value) };
        if let Some(origin) = self.origin.clone() {
            let writer = self.writer()?;
            writer.append_key_value_metadata(pair(KEY_CHECKPOINT, "1".to_owned()));
            writer.append_key_value_metadata(pair(KEY_SETTLED, settled.to_string()));
            writer.append_key_value_metadata(pair(KEY_PROVENANCE, origin.provenance.to_string()));
        }
        let rows = self.rows;
        if let Some((writer, _)) = self.writer.take() {
            let buffer = writer.into_inner().map_err(io_error)?;
            buffer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        }
        Ok(rows)
    }

    /// Returns the numbers by which the rows are sorted.
    fn keys(&self, batch: &RecordBatch) -> io::Result<Vec<Key>> {
        let column = |name: &&&str| -> Option<Vec<i64>> {
            let long = numbers::<Int64Type>(batch, name).ok();
            let long = long.map(|column| column.values().to_vec());
            long.or_else(|| Some(numbers::<Millisecond>(batch, name).ok()?.values().to_vec()))
        };
        let mut columns = self.table.sorted_by.iter().take(2).map_while(|name| column(&name));
        let first = columns.next().unwrap_or_else(|| vec![0; batch.num_rows()]);
        let second = columns.next().unwrap_or_else(|| vec![0; batch.num_rows()]);
        Ok(first.into_iter().zip(second).collect())
    }

    /// Brings the columns into the order of the table.
    fn conform(&mut self, batch: &RecordBatch) -> io::Result<RecordBatch> {
        let rows = batch.num_rows();
        let schema = match &self.writer {
            Some((_, schema)) => Arc::clone(schema),
            None => self.table.arrow_schema(),
        };
        let columns = schema.fields().iter().map(|field| -> io::Result<ArrayRef> {
            if let (RECORDING, Some(origin)) = (field.name().as_str(), &self.origin) {
                let ids = std::iter::repeat_n(&*origin.id, rows);
                return Ok(Arc::new(StringArray::from_iter_values(ids)));
            }
            match batch.column_by_name(field.name()) {
                Some(column) => Ok(Arc::clone(column)),
                None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
                None => {
                    Err(invalid(format!("column `{}` is missing in a part of it", field.name())))
                }
            }
        });
        let columns = columns.collect::<io::Result<Vec<_>>>()?;
        RecordBatch::try_new(schema, columns).map_err(invalid)
    }

    fn put(&mut self, rows: &RecordBatch) -> io::Result<()> {
        if rows.num_rows() > 0 {
            self.rows_of_group += rows.num_rows();
            self.rows += rows.num_rows() as u64;
            self.writer()?.write(rows).map_err(io_error)?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.rows_of_group > 0 {
            self.writer()?.flush().map_err(io_error)?;
            self.rows_of_group = 0;
        }
        Ok(())
    }

    fn writer(&mut self) -> io::Result<&mut ArrowWriter<BufWriter<File>>> {
        if let Some(file) = self.file.take() {
            let schema = self.table.arrow_schema();
            let options = ArrowWriterOptions::new()
                .with_properties(properties(&self.table, Purpose::Settled).build())
                .with_skip_arrow_metadata(true);
            let output = BufWriter::new(file);
            let writer = ArrowWriter::try_new_with_options(output, Arc::clone(&schema), options);
            self.writer = Some((writer.map_err(io_error)?, schema));
        }
        let writer = self.writer.as_mut().map(|(writer, _)| writer);
        writer.ok_or_else(|| io::Error::other("the table could not be begun"))
    }
}

/// The column that names the recording.
const RECORDING: &str = "recording";

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
