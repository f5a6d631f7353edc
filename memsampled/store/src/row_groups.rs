//! Copying row groups of Parquet files, without decoding them.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

/// Copies row groups of files with the same columns into one file, as they are.
///
/// # Errors
///
/// A file is damaged, or `output` cannot be written.
pub(crate) fn copy_row_groups(
    output: &mut (impl Write + Send),
    inputs: &[(Bytes, Range<usize>)],
    key_values: Option<Vec<KeyValue>>,
) -> Result<(), ParquetError> {
    let Some((first, _)) = inputs.first() else { return Ok(()) };
    let first = SerializedFileReader::new(first.clone())?;
    let schema = first.metadata().file_metadata().schema_descr().root_schema_ptr();
    let properties = WriterProperties::builder().set_key_value_metadata(key_values).build();
    let mut writer = SerializedFileWriter::new(output, schema, Arc::new(properties))?;
    for (bytes, groups) in inputs {
        let reader = SerializedFileReader::new(bytes.clone())?;
        let all = reader.metadata().row_groups();
        for group in all.get(groups.clone()).unwrap_or_default() {
            let mut copy = writer.next_row_group()?;
            for column in group.columns() {
                copy.append_column(
                    bytes,
                    ColumnCloseResult {
                        bytes_written: column.compressed_size().unsigned_abs(),
                        rows_written: group.num_rows().unsigned_abs(),
                        metadata: column.clone(),
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    },
                )?;
            }
            copy.close()?;
        }
    }
    writer.close().map(drop)
}
