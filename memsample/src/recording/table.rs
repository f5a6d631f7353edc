//! A table's Parquet file, which can be read at any moment while it grows.
//!
//! A Parquet file cannot be appended to: its footer is at the end and counts everything before it. So
//! each version is written beside the last one and then takes its name. Row groups that are settled
//! are copied as they are, without decoding; the tail, small row groups for those who want to look
//! before the next checkpoint, is replaced then by one that is sorted as a whole. A file that has
//! grown to [`ROTATE_BYTES`] stays as it is and the table continues in the next, so copying stays cheap.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use memsample_beneath::HeldDirectory;
use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use super::copied_row_group::RowGroupBytes;
use super::page_compressor::PageCompressor;
use super::parquet_file::{ParquetFile, guarded, io_error};
use super::purpose::Purpose;
use super::row_columns::encode_rows;
use super::run_column::{EncodedColumn, PAGE_BYTES, PAGE_ROWS};
use super::sample_columns::encode_samples;
use crate::schema::{ColumnKind, Fields, Table};
use crate::segment::Segment;

/// A file of this size is not copied any more.
const ROTATE_BYTES: u64 = 8 << 20;

/// The checkpoint up to which the settled row groups reach.
pub(super) const KEY_CHECKPOINT: &str = "memsample.checkpoint";
/// How many row groups are settled.
pub(super) const KEY_SETTLED: &str = "memsample.settled_row_groups";
/// What was recorded, where and how; see [`Provenance`](crate::Provenance).
pub(super) const KEY_PROVENANCE: &str = "memsample.provenance";

/// Encoded rows.
pub(crate) struct RowGroups {
    bytes: Bytes,
    metadata: ParquetMetaData,
}

impl RowGroups {
    /// Encodes rows of a small table of the recording `id` as one row group. `None` where there are none.
    pub(super) fn of_rows<R>(
        table: &Table,
        fields: Fields<R>,
        id: &str,
        purpose: Purpose,
        rows: &[R],
    ) -> io::Result<Option<Self>> {
        Self::of_columns(table, purpose, |schema, compressor| {
            encode_rows(table, fields, id, purpose, schema, compressor, rows)
        })
    }

    /// Encodes the samples of a segment from tick `first` on as one row group, run by run. `None` where there are none.
    pub(super) fn of_samples(
        table: &Table,
        id: &str,
        purpose: Purpose,
        segment: &Segment,
        first: u32,
    ) -> io::Result<Option<Self>> {
        Self::of_columns(table, purpose, |schema, compressor| {
            encode_samples(table, id, schema, compressor, segment, first)
        })
    }

    fn of_columns(
        table: &Table,
        purpose: Purpose,
        encode: impl FnOnce(&SchemaDescriptor, &mut PageCompressor) -> io::Result<Vec<EncodedColumn>>,
    ) -> io::Result<Option<Self>> {
        let schema = parquet::arrow::ArrowSchemaConverter::new().convert(&table.arrow_schema());
        let schema = schema.map_err(io_error)?;
        let columns = encode(&schema, &mut PageCompressor::new(purpose.level())?)?;
        if columns.first().is_none_or(|(_, column)| column.rows_written == 0) {
            return Ok(None);
        }
        let properties = Arc::new(properties(table, purpose).build());
        let schema = schema.root_schema_ptr();
        let writer = SerializedFileWriter::new(Vec::new(), schema, properties);
        let mut writer = writer.map_err(io_error)?;
        let mut group = writer.next_row_group().map_err(io_error)?;
        for (bytes, column) in columns {
            group.append_column(&bytes, column).map_err(io_error)?;
        }
        group.close().map_err(io_error)?;
        let metadata = writer.finish().map_err(io_error)?;
        let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
        Ok(Some(Self { bytes, metadata }))
    }

    /// Returns a whole file that holds them.
    #[cfg(test)]
    pub(super) fn file(&self) -> Bytes {
        self.bytes.clone()
    }
}

/// What becomes of the tail of a file.
pub(crate) enum Tail {
    /// It stays, and this comes behind it.
    Append(Option<RowGroups>),
    /// This takes its place.
    Replace(Option<RowGroups>),
}

/// What every file says of the recording that it is of.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The value of the column `recording`.
    pub(crate) id: Arc<str>,
    /// What was recorded, where and how, as JSON.
    pub(crate) provenance: Arc<str>,
}

/// The files of one table of a recording that is being written.
pub(crate) struct TableFile {
    directory: Arc<HeldDirectory>,
    table: Table,
    schema: SchemaRef,
    origin: Origin,
    /// Which of the table's files is being written, from 1.
    number: u32,
    /// What that file holds on disk; `None` where there is no such file yet.
    on_disk: Option<OnDisk>,
    /// The checkpoint up to which the settled rows reach.
    checkpoint: u64,
}

struct OnDisk {
    metadata: ParquetMetaData,
    settled: usize,
    bytes: u64,
}

impl TableFile {
    /// Creates the table, without rows.
    pub(crate) fn create(
        directory: &Arc<HeldDirectory>,
        table: Table,
        origin: Origin,
    ) -> io::Result<Self> {
        let mut file = Self::new(directory, table, origin);
        file.publish(0, None, Tail::Replace(None))?;
        Ok(file)
    }

    /// Opens the last file of the table to go on with it.
    ///
    /// # Errors
    ///
    /// Of kind `NotFound` where there is no file, `InvalidData` where it is not Parquet or was not
    /// written here.
    pub(crate) fn reopen(
        directory: &Arc<HeldDirectory>,
        table: Table,
        origin: Origin,
    ) -> io::Result<Self> {
        let mut table = Self::new(directory, table, origin);
        // An error is none of absence: the file before it would be written as if it were the last one.
        while directory.try_contains(file_name(table.table.name, table.number + 1))? {
            table.number += 1;
        }
        let file = ParquetFile::new(directory.file(table.file_name())?)?;
        let metadata = file.metadata()?;
        let number = |key: &str| -> Option<u64> {
            let pairs = metadata.file_metadata().key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == key)?.value.as_ref()?.parse().ok()
        };
        let settled = number(KEY_SETTLED).and_then(|settled| usize::try_from(settled).ok());
        let missing = || invalid("it has no note of its row groups");
        table.checkpoint = number(KEY_CHECKPOINT).ok_or_else(missing)?;
        let settled =
            settled.filter(|&settled| settled <= metadata.num_row_groups()).ok_or_else(missing)?;
        table.on_disk = Some(OnDisk { settled, bytes: file.len(), metadata });
        Ok(table)
    }

    fn new(directory: &Arc<HeldDirectory>, table: Table, origin: Origin) -> Self {
        let schema = table.arrow_schema();
        let directory = Arc::clone(directory);
        Self { directory, table, schema, origin, number: 1, on_disk: None, checkpoint: 0 }
    }

    /// Encodes rows as one row group. `None` where there are none.
    pub(crate) fn encode<R>(
        &self,
        fields: Fields<R>,
        purpose: Purpose,
        rows: &[R],
    ) -> io::Result<Option<RowGroups>> {
        RowGroups::of_rows(&self.table, fields, &self.origin.id, purpose, rows)
    }

    /// Encodes the samples of a segment from tick `first` on as one row group. `None` where there are none.
    pub(crate) fn encode_samples(
        &self,
        purpose: Purpose,
        segment: &Segment,
        first: u32,
    ) -> io::Result<Option<RowGroups>> {
        RowGroups::of_samples(&self.table, &self.origin.id, purpose, segment, first)
    }

    fn file_name(&self) -> String {
        file_name(self.table.name, self.number)
    }

    /// Returns the name of the table, and how many files it has on disk.
    pub(crate) fn files(&self) -> (&'static str, u32) {
        let begun = u32::from(self.on_disk.is_some());
        (self.table.name, self.number - 1 + begun)
    }

    /// Returns the checkpoint up to which the settled rows reach.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// Returns how many rows are in the tail.
    pub(crate) fn tail_rows(&self) -> u64 {
        let Some(OnDisk { metadata, settled, .. }) = &self.on_disk else {
            return 0;
        };
        let tail = metadata.row_groups().iter().skip(*settled);
        tail.map(|row_group| row_group.num_rows().unsigned_abs()).sum()
    }

    /// Returns how many rows all files of the table have.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub(crate) fn rows(&self) -> io::Result<u64> {
        let names = (1..=self.number).map(|number| file_name(self.table.name, number));
        let there = names.filter(|name| self.directory.contains(name));
        there.map(|name| self.rows_of(&name)).sum()
    }

    fn rows_of(&self, name: &str) -> io::Result<u64> {
        let metadata = ParquetFile::new(self.directory.file(name)?)?.metadata()?;
        Ok(metadata.file_metadata().num_rows().unsigned_abs())
    }

    /// Continues in the next file: what the present one holds stays as it is.
    pub(crate) fn rotate(&mut self) {
        if self.on_disk.take().is_some() {
            self.number += 1;
        }
    }

    /// Adds settled rows up to `checkpoint` and changes the tail, in one step for every reader.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the one before is then untouched.
    pub(crate) fn publish(
        &mut self,
        checkpoint: u64,
        settle: Option<RowGroups>,
        tail: Tail,
    ) -> io::Result<()> {
        let unchanged =
            settle.is_none() && matches!(tail, Tail::Append(None)) && self.on_disk.is_some();
        if unchanged && checkpoint == self.checkpoint {
            return Ok(());
        }
        let (kept_tail, new_tail) = match tail {
            Tail::Append(rows) => (usize::MAX, rows),
            Tail::Replace(rows) => (0, rows),
        };
        let settled_before = self.on_disk.as_ref().map_or(0, |on_disk| on_disk.settled);
        let settled_rows = settle.as_ref().map_or(0, |rows| rows.metadata.num_row_groups());
        let settled = settled_before + settled_rows;
        let name = self.file_name();
        let on_disk = self.directory.replace(&name, |file| {
            let mut output = Output::new(file, self, checkpoint, settled)?;
            let before = match &self.on_disk {
                Some(on_disk) => {
                    Some((ParquetFile::new(self.directory.file(&name)?)?, &on_disk.metadata))
                }
                None => None,
            };
            if let Some((source, metadata)) = &before {
                output.copy(source, metadata, 0, settled_before)?;
            }
            for rows in settle.iter() {
                output.copy(&rows.bytes, &rows.metadata, 0, usize::MAX)?;
            }
            if let Some((source, metadata)) = &before {
                output.copy(source, metadata, settled_before, kept_tail)?;
            }
            for rows in new_tail.iter() {
                output.copy(&rows.bytes, &rows.metadata, 0, usize::MAX)?;
            }
            let metadata = output.finish()?;
            Ok(OnDisk { metadata, settled, bytes: file.metadata()?.len() })
        })?;
        let full =
            on_disk.bytes >= ROTATE_BYTES && on_disk.settled == on_disk.metadata.num_row_groups();
        self.on_disk = Some(on_disk);
        self.checkpoint = checkpoint;
        if full {
            self.rotate();
        }
        Ok(())
    }
}

/// A file that is put together from encoded row groups.
struct Output<'a> {
    writer: SerializedFileWriter<BufWriter<&'a File>>,
}

impl<'a> Output<'a> {
    fn new(file: &'a File, table: &TableFile, checkpoint: u64, settled: usize) -> io::Result<Self> {
        let pair = |key: &str, value: String| KeyValue { key: key.to_owned(), value: Some(value) };
        let pairs = vec![
            pair(KEY_CHECKPOINT, checkpoint.to_string()),
            pair(KEY_SETTLED, settled.to_string()),
            pair(KEY_PROVENANCE, table.origin.provenance.to_string()),
        ];
        let properties =
            properties(&table.table, Purpose::Settled).set_key_value_metadata(Some(pairs));
        let schema =
            parquet::arrow::ArrowSchemaConverter::new().convert(&table.schema).map_err(io_error)?;
        let writer = SerializedFileWriter::new(
            BufWriter::new(file),
            schema.root_schema_ptr(),
            Arc::new(properties.build()),
        );
        Ok(Self { writer: writer.map_err(io_error)? })
    }

    /// Copies up to `count` row groups of `source` from `first` on, as they are.
    fn copy(
        &mut self,
        source: &impl ChunkReader,
        metadata: &ParquetMetaData,
        first: usize,
        count: usize,
    ) -> io::Result<()> {
        // What is copied may be of a recorder that died, and damaged.
        guarded(|| {
            for row_group in metadata.row_groups().iter().skip(first).take(count) {
                let mut output = self.writer.next_row_group()?;
                let at_once = RowGroupBytes::read(source, row_group)?;
                for column in row_group.columns() {
                    let close = ColumnCloseResult {
                        bytes_written: column.compressed_size() as u64,
                        rows_written: row_group.num_rows() as u64,
                        metadata: column.clone(),
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    };
                    match &at_once {
                        Some(bytes) => output.append_column(bytes, close)?,
                        None => output.append_column(source, close)?,
                    }
                }
                output.close()?;
            }
            Ok(())
        })
    }

    fn finish(mut self) -> io::Result<ParquetMetaData> {
        // Flushes the buffer too.
        self.writer.finish().map_err(io_error)
    }
}

/// Returns the name of a table's file: `NAME.parquet`, then `NAME-0002.parquet`.
pub(crate) fn file_name(name: &str, number: u32) -> String {
    match number {
        1 => format!("{name}.parquet"),
        number => format!("{name}-{number:04}.parquet"),
    }
}

/// Returns the name of the last file of a table, if there is one.
///
/// # Errors
///
/// The kernel does not say whether there is another one.
pub(crate) fn last_file(directory: &HeldDirectory, name: &str) -> io::Result<Option<String>> {
    let mut last = None;
    for number in 1.. {
        let file = file_name(name, number);
        if !directory.try_contains(&file)? {
            break;
        }
        last = Some(file);
    }
    Ok(last)
}

/// Returns the number of a file of a table by its name; `None` of another file.
pub(crate) fn file_number(name: &str, file: &str) -> Option<u32> {
    let number = file.strip_prefix(name)?.strip_suffix(".parquet")?;
    let number = if number.is_empty() { 1 } else { number.strip_prefix('-')?.parse().ok()? };
    (file == file_name(name, number)).then_some(number)
}

/// Describes how to write: every value that matters, since the defaults are made for other tables.
pub(super) fn properties(table: &Table, purpose: Purpose) -> WriterPropertiesBuilder {
    let sorting = table.sorted_by.iter().filter_map(|name| {
        let index = table.columns.iter().position(|column| column.name == *name)?;
        Some(SortingColumn { column_idx: index as i32, descending: false, nulls_first: false })
    });
    let mut properties = WriterProperties::builder()
        // Version 1 pages: fastparquet knows no others, and they are smaller here.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(purpose.level().map_or(Compression::UNCOMPRESSED, Compression::ZSTD))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_created_by(format!("memsample {}", env!("CARGO_PKG_VERSION")))
        .set_sorting_columns(Some(sorting.collect()));
    for column in &table.columns {
        let path = ColumnPath::from(column.name);
        properties = match column.kind {
            ColumnKind::Text => properties.set_column_dictionary_enabled(path, true),
            ColumnKind::Flag => properties,
            ColumnKind::Timestamp | ColumnKind::Int64 | ColumnKind::Int32 => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
        };
    }
    properties
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
