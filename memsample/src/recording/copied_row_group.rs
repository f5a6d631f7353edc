//! The bytes of a row group that is copied: read at once, where a file would be asked for each column of it.

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};

/// What is larger is copied column by column, as a stream. The row groups of a tail have some kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// The bytes of a row group, at their places in the file.
pub(super) struct RowGroupBytes {
    begin: u64,
    bytes: Bytes,
}

impl RowGroupBytes {
    /// Reads a row group. `None` of one that is large.
    pub(super) fn read(
        source: &impl ChunkReader,
        row_group: &RowGroupMetaData,
    ) -> Result<Option<Self>, ParquetError> {
        let columns = row_group.columns().iter().map(|column| column.byte_range());
        let (begin, end) = columns.fold((u64::MAX, 0), |(begin, end), (start, length)| {
            (begin.min(start), end.max(start.saturating_add(length)))
        });
        match end.checked_sub(begin) {
            Some(length) if length <= MAX_BYTES => {
                Ok(Some(Self { begin, bytes: source.get_bytes(begin, length as usize)? }))
            }
            Some(_) | None => Ok(None),
        }
    }

    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let offset = start.checked_sub(self.begin).and_then(|offset| usize::try_from(offset).ok());
        match offset.filter(|&offset| offset <= self.bytes.len()) {
            Some(offset) => Ok(self.bytes.slice(offset..)),
            None => Err(outside(start)),
        }
    }
}

fn outside(start: u64) -> ParquetError {
    ParquetError::EOF(format!("the row group has no column at {start}"))
}

impl Length for RowGroupBytes {
    fn len(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }
}

impl ChunkReader for RowGroupBytes {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() { Err(outside(start)) } else { Ok(bytes.slice(..length)) }
    }
}
