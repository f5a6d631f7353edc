//! A column of a Parquet file, encoded run by run instead of row by row.

use std::io;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::delta_runs::{DeltaRuns, pack};
use super::distinct::Distinct;
use super::level_runs::{Run, add, put_runs};
use super::page_compressor::PageCompressor;
use super::parquet_file::io_error;
use crate::schema::{Column, ColumnKind};

/// The size of a page before compression. Smaller pages keep the memory of the writer small: one is
/// open for each column.
pub(super) const PAGE_BYTES: usize = 128 * 1024;
/// The size of a page of numbers as they are: of most rows it says what it said of the ones before.
const PLAIN_PAGE_BYTES: usize = 256 * 1024;
/// Rows of a page, at most. The writer keeps eight bytes for each text of the page that it is filling, so a column of one
/// text, whose page never becomes large, would take more memory than all that is in it.
pub(super) const PAGE_ROWS: usize = 256 * 1024;

/// Texts longer than this are not told as the least or the greatest of a column.
const TOLD_TEXT_BYTES: usize = 64;
/// Runs of a page of texts, at most.
const PAGE_RUNS: usize = 16 * 1024;

/// A column of a row group as it stands in a file, and what a file says of it.
pub(super) type EncodedColumn = (Bytes, ColumnCloseResult);

/// A column of a row group, while it is filled.
pub(super) struct RunColumn {
    /// Whether the file says between which values all are.
    tells_range: bool,
    /// Of each row whether there is a value; `None` where there always is.
    levels: Option<Vec<Run>>,
    values: Values,
    /// Rows in the page that is filled.
    page_rows: usize,
    rows: u64,
    nulls: u64,
    pages: Vec<EncodedPage>,
}

/// How numbers are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberEncoding {
    /// As differences: smallest where most rows are as far from the one before as that is from its own.
    Differences,
    /// As they are: smallest where they change now and then by anything, since the compressor knows bytes, not bits.
    Plain,
    /// Each once, and where it is: smallest where few are different.
    Distinct,
}

enum Values {
    Numbers {
        numbers: Numbers,
        is_short: bool,
        range: Option<(i64, i64)>,
    },
    /// Behind the length of each.
    Texts {
        texts: Distinct,
        text: Vec<u8>,
    },
    Flags(Vec<bool>),
}

enum Numbers {
    Differences(DeltaRuns),
    Plain(Vec<u8>),
    Distinct(Distinct),
}

struct EncodedPage {
    compressed: Bytes,
    /// Before compression.
    bytes: usize,
    rows: usize,
    encoding: Encoding,
}

impl RunColumn {
    /// Begins a column, the numbers of which are encoded in one way.
    pub(super) fn new(column: &Column, encoding: NumberEncoding, tells_range: bool) -> Self {
        let is_short = column.kind == ColumnKind::Int32;
        let values = match column.kind {
            ColumnKind::Text => Values::Texts { texts: Distinct::default(), text: Vec::new() },
            ColumnKind::Flag => Values::Flags(Vec::new()),
            ColumnKind::Timestamp | ColumnKind::Int64 | ColumnKind::Int32 => {
                let numbers = match encoding {
                    NumberEncoding::Differences => Numbers::Differences(DeltaRuns::new(is_short)),
                    NumberEncoding::Plain => Numbers::Plain(Vec::new()),
                    NumberEncoding::Distinct => Numbers::Distinct(Distinct::default()),
                };
                Values::Numbers { numbers, is_short, range: None }
            }
        };
        let levels = column.nullable.then(Vec::new);
        let pages = Vec::new();
        Self { tells_range, levels, values, page_rows: 0, rows: 0, nulls: 0, pages }
    }

    /// Adds a number to `rows` rows.
    pub(super) fn push_number(
        &mut self,
        value: Option<i64>,
        rows: usize,
        compressor: &mut PageCompressor,
    ) -> io::Result<()> {
        self.push(value.is_some(), rows, compressor, |values, rows| {
            if let (Values::Numbers { numbers, is_short, range }, Some(value)) = (values, value) {
                numbers.push(value, rows, *is_short);
                let (least, greatest) = range.unwrap_or((value, value));
                *range = Some((least.min(value), greatest.max(value)));
            }
        })
    }

    /// Adds a text to `rows` rows.
    pub(super) fn push_text(
        &mut self,
        text: Option<&str>,
        rows: usize,
        compressor: &mut PageCompressor,
    ) -> io::Result<()> {
        self.push(text.is_some(), rows, compressor, |values, rows| {
            if let (Values::Texts { texts, text: plain }, Some(text)) = (values, text) {
                plain.clear();
                plain.extend_from_slice(&(text.len() as u32).to_le_bytes());
                plain.extend_from_slice(text.as_bytes());
                texts.push(plain, rows);
            }
        })
    }

    /// Adds a truth value to a row.
    pub(super) fn push_flag(
        &mut self,
        flag: bool,
        compressor: &mut PageCompressor,
    ) -> io::Result<()> {
        self.push(true, 1, compressor, |values, rows| {
            if let Values::Flags(flags) = values {
                flags.extend(std::iter::repeat_n(flag, rows));
            }
        })
    }

    fn push(
        &mut self,
        is_present: bool,
        mut rows: usize,
        compressor: &mut PageCompressor,
        push: impl Fn(&mut Values, usize),
    ) -> io::Result<()> {
        while rows > 0 {
            let fitting = rows.min(self.room());
            if let Some(levels) = &mut self.levels {
                add(levels, u32::from(is_present), fitting);
            }
            match is_present {
                true => push(&mut self.values, fitting),
                false => self.nulls += fitting as u64,
            }
            self.page_rows += fitting;
            self.rows += fitting as u64;
            rows -= fitting;
            if self.page_rows >= PAGE_ROWS || self.is_page_full() {
                self.end_page(compressor, false)?;
            }
        }
        Ok(())
    }

    /// Returns how many rows the page that is filled may still take.
    fn room(&self) -> usize {
        match &self.values {
            Values::Numbers { numbers: Numbers::Plain(bytes), .. } => {
                PLAIN_PAGE_BYTES.saturating_sub(bytes.len()).div_ceil(size_of::<i64>())
            }
            _ => PAGE_ROWS - self.page_rows,
        }
    }

    fn is_page_full(&self) -> bool {
        let is_full = match &self.values {
            Values::Numbers { numbers: Numbers::Differences(runs), .. } => {
                runs.bytes() >= PAGE_BYTES
            }
            Values::Numbers { numbers: Numbers::Plain(bytes), .. } => {
                bytes.len() >= PLAIN_PAGE_BYTES
            }
            Values::Numbers { numbers: Numbers::Distinct(values), .. }
            | Values::Texts { texts: values, .. } => values.runs() >= PAGE_RUNS,
            Values::Flags(_) => false,
        };
        is_full || self.levels.as_ref().is_some_and(|levels| levels.len() >= PAGE_RUNS)
    }

    fn end_page(&mut self, compressor: &mut PageCompressor, is_last: bool) -> io::Result<()> {
        let mut page = Vec::new();
        if let Some(levels) = &mut self.levels {
            let mut bytes = Vec::new();
            put_runs(&mut bytes, levels, 1);
            page.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            page.append(&mut bytes);
            levels.clear();
        }
        let encoding = match &mut self.values {
            Values::Numbers { numbers: Numbers::Differences(runs), .. } => {
                runs.finish(&mut page);
                Encoding::DELTA_BINARY_PACKED
            }
            Values::Numbers { numbers: Numbers::Plain(bytes), .. } => {
                page.append(bytes);
                Encoding::PLAIN
            }
            Values::Texts { texts, .. }
                if self.pages.is_empty() && is_last && texts.are_different() =>
            {
                texts.put_values(&mut page);
                Encoding::PLAIN
            }
            Values::Numbers { numbers: Numbers::Distinct(values), .. }
            | Values::Texts { texts: values, .. } => {
                values.put_numbers(&mut page);
                Encoding::RLE_DICTIONARY
            }
            Values::Flags(flags) => {
                flags.resize(flags.len().next_multiple_of(8), false);
                pack(&mut page, flags.drain(..).map(u64::from), 1);
                Encoding::PLAIN
            }
        };
        let bytes = page.len();
        let compressed = compressor.compress(page)?;
        let rows = std::mem::take(&mut self.page_rows);
        self.pages.push(EncodedPage { compressed, bytes, rows, encoding });
        Ok(())
    }

    /// Returns the column as it stands in a file, and what a file says of it.
    ///
    /// # Errors
    ///
    /// It cannot be compressed or described, for which no reason is known.
    pub(super) fn finish(
        mut self,
        description: ColumnDescPtr,
        compressor: &mut PageCompressor,
    ) -> io::Result<EncodedColumn> {
        if self.page_rows > 0 {
            self.end_page(compressor, true)?;
        }
        let statistics = self.statistics();
        let mut output = TrackedWrite::new(Vec::new());
        let mut uncompressed = 0;
        let mut dictionary = None;
        let mut writer = SerializedPageWriter::new(&mut output);
        let mut put = |page: Page, bytes: usize| -> io::Result<u64> {
            let spec = writer.write_page(CompressedPage::new(page, bytes)).map_err(io_error)?;
            uncompressed += spec.uncompressed_size as i64;
            Ok(spec.offset)
        };
        let encoding = self.pages.first().map_or(Encoding::PLAIN, |page| page.encoding);
        let mut encodings = vec![Encoding::RLE, encoding];
        if let Values::Texts { texts: values, .. }
        | Values::Numbers { numbers: Numbers::Distinct(values), .. } = &mut self.values
            && encoding == Encoding::RLE_DICTIONARY
        {
            let (num_values, values) = values.dictionary();
            let bytes = values.len();
            let page = Page::DictionaryPage {
                buf: compressor.compress(values)?,
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            dictionary = Some(put(page, bytes)?.cast_signed());
            encodings.insert(1, Encoding::PLAIN);
        }
        let mut first = None;
        for EncodedPage { compressed, bytes, rows, encoding } in self.pages {
            let page = Page::DataPage {
                buf: compressed,
                num_values: rows as u32,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let offset = put(page, bytes)?;
            first.get_or_insert(offset.cast_signed());
        }
        let bytes = Bytes::from(output.into_inner().map_err(io_error)?);
        let metadata = ColumnChunkMetaData::builder(description)
            .set_encodings(encodings)
            .set_compression(compressor.codec())
            .set_num_values(self.rows.cast_signed())
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed)
            .set_data_page_offset(first.unwrap_or(0))
            .set_dictionary_page_offset(dictionary)
            .set_statistics(statistics);
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata: metadata.build().map_err(io_error)?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes, close))
    }

    fn statistics(&self) -> Statistics {
        let nulls = Some(self.nulls);
        match &self.values {
            _ if !self.tells_range => Statistics::new::<bool>(None, None, None, nulls, false),
            Values::Numbers { is_short: true, range, .. } => {
                let range = range.map(|(least, greatest)| (least as i32, greatest as i32));
                Statistics::new(range.map(|it| it.0), range.map(|it| it.1), None, nulls, false)
            }
            Values::Numbers { range, .. } => {
                Statistics::new(range.map(|it| it.0), range.map(|it| it.1), None, nulls, false)
            }
            Values::Texts { texts, .. } => {
                let all = || texts.all().filter_map(|text| text.get(size_of::<u32>()..));
                let is_told = |text: &&[u8]| text.len() <= TOLD_TEXT_BYTES;
                let (least, greatest) = (all().min().filter(is_told), all().max().filter(is_told));
                let [least, greatest] =
                    [least, greatest].map(|text| text.map(|text| ByteArray::from(text.to_vec())));
                Statistics::new(least, greatest, None, nulls, false)
            }
            Values::Flags(_) => Statistics::new::<bool>(None, None, None, nulls, false),
        }
    }
}

/// Appends a piece `times` times: of a long run, in pieces that double.
fn push_repeated(bytes: &mut Vec<u8>, piece: &[u8], times: usize) {
    let begin = bytes.len();
    let end = begin + piece.len() * times;
    bytes.reserve(end - begin);
    bytes.extend_from_slice(if times > 0 { piece } else { &[] });
    while bytes.len() < end {
        let length = (bytes.len() - begin).min(end - bytes.len());
        bytes.extend_from_within(begin..begin + length);
    }
}

impl Numbers {
    fn push(&mut self, value: i64, rows: usize, is_short: bool) {
        let long = value.to_le_bytes();
        // Those of 32 bits are the lower ones.
        let plain = if is_short { long.get(..4).unwrap_or_default() } else { &long };
        match self {
            Self::Differences(runs) => runs.push(value, rows),
            Self::Plain(bytes) => push_repeated(bytes, plain, rows),
            Self::Distinct(values) => values.push(plain, rows),
        }
    }
}
