//! A Parquet file that may be damaged or crafted: whatever its bytes, it is rows or an error.
//!
//! The Parquet library has assertions that bytes of a file can break, and it allocates what a file asks for.
//! So every file is read through here: what lies outside of the file is refused before memory is allocated for
//! it, and a panic of the library is an error that says so. Nothing else of memsample reads Parquet.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

/// A file, of which nothing is read that is not in it.
pub(super) struct ParquetFile<R> {
    input: R,
    bytes: u64,
}

impl ParquetFile<File> {
    /// Takes an open file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { input: file, bytes })
    }
}

impl<R: ChunkReader + 'static> ParquetFile<R> {
    /// Reads what the end of the file says of the rest.
    ///
    /// # Errors
    ///
    /// Of kind `InvalidData` where it is damaged.
    pub(super) fn metadata(&self) -> io::Result<ParquetMetaData> {
        guarded(|| {
            let metadata = ParquetMetaDataReader::new().parse_and_finish(self)?;
            self.check(&metadata)?;
            Ok(metadata)
        })
    }

    /// Returns the rows of some columns, batch by batch, without the row groups that lie outside a span of `ts`.
    /// A column that the file does not have is not in the batches. `accept` may refuse what the end of the file says.
    ///
    /// # Errors
    ///
    /// Of kind `InvalidData` where it is damaged.
    pub(super) fn rows(
        self,
        columns: &[&str],
        span: &RangeInclusive<i64>,
        accept: impl FnOnce(&ParquetMetaData) -> Result<(), ParquetError>,
    ) -> io::Result<Rows> {
        let reader = guarded(|| {
            // The types are those of the columns, whatever a schema of Arrow in the file says.
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&self)?;
            self.check(&metadata)?;
            accept(&metadata)?;
            let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self, metadata);
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            let groups = builder.metadata().row_groups().iter().enumerate();
            let groups = groups.filter(|(_, group)| may_hold(group, span));
            let groups = groups.map(|(index, _)| index).collect();
            builder.with_projection(mask).with_row_groups(groups).build()
        })?;
        Ok(Rows { reader: Some(reader) })
    }

    /// Checks that each column lies within the file.
    fn check(&self, metadata: &ParquetMetaData) -> Result<(), ParquetError> {
        for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
            let begin = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = begin.checked_add(column.compressed_size());
            let end = end.filter(|&end| begin >= 0 && end >= begin);
            if end.is_none_or(|end| end.unsigned_abs() > self.bytes) {
                let message = format!("column `{}` lies outside of the file", column.column_path());
                return Err(ParquetError::EOF(message));
            }
        }
        Ok(())
    }
}

impl<R: ChunkReader> Length for ParquetFile<R> {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl<R: ChunkReader> ChunkReader for ParquetFile<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.input.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Memory is allocated for them before they are read.
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes) {
            let message = format!("{length} bytes at {start} lie outside of the file");
            return Err(ParquetError::EOF(message));
        }
        self.input.get_bytes(start, length)
    }
}

/// The rows of a file, batch by batch. After an error there are no more.
pub(super) struct Rows {
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Rows {
    type Item = io::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let batch = guarded(|| {
            let batch = reader.next().transpose()?;
            batch.as_ref().map_or(Ok(()), check_times)?;
            Ok(batch)
        });
        // What panicked is in no state to go on.
        if matches!(batch, Ok(Some(_))) {
            self.reader = Some(reader);
        }
        batch.transpose()
    }
}

/// Checks that each time is one of the years -9999 to 9999: no difference of two overflows then, and each can be written
/// as a date.
fn check_times(batch: &RecordBatch) -> Result<(), ParquetError> {
    let may_be = Timestamp::MIN.as_millisecond()..=Timestamp::MAX.as_millisecond();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let Some(times) = column.as_primitive_opt::<TimestampMillisecondType>() else { continue };
        if let Some(time) = times.iter().flatten().find(|time| !may_be.contains(time)) {
            let message = format!("`{}` has a time outside of all years: {time} ms", field.name());
            return Err(ParquetError::General(message));
        }
    }
    Ok(())
}

thread_local! {
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// Does something with a file that may be damaged: a panic of the library is an error too.
///
/// # Errors
///
/// Of kind `InvalidData`, unless the file itself cannot be read.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> io::Result<T> {
    silence();
    let before = IS_READING.replace(true);
    // What is left half done is dropped by those who call this.
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(before);
    match result {
        Ok(result) => result.map_err(io_error),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|message| (*message).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            let message = message.unwrap_or_default();
            let line = message.lines().next().unwrap_or_default();
            let message = format!("the Parquet library gave up: {line}");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Keeps a panic that becomes an error from printing a message. Every other one does as before.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_READING.get() {
                before(panic);
            }
        }));
    });
}

/// Keeps the kind of an error of the file system, which says whether the disk is full.
pub(super) fn io_error(error: ParquetError) -> io::Error {
    match error {
        // The library says so in words alone, which pass through an error of Arrow.
        error if error.to_string().contains("Disabled feature") => {
            let reason = "it is compressed in a way that this program cannot read, and that it never writes: write it \
                          again with zstd or without compression";
            io::Error::new(io::ErrorKind::Unsupported, reason)
        }
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        },
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Returns whether a row group may hold a row in a span of `ts`, as far as its statistics tell.
fn may_hold(group: &RowGroupMetaData, span: &RangeInclusive<i64>) -> bool {
    let ts = group.columns().iter().find(|column| column.column_path().string() == "ts");
    match ts.and_then(|ts| ts.statistics()) {
        Some(Statistics::Int64(ts)) => match (ts.min_opt(), ts.max_opt()) {
            (Some(min), Some(max)) => min <= span.end() && max >= span.start(),
            _ => true,
        },
        _ => true,
    }
}
