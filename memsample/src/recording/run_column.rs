//! A column of a Parquet file, encoded run by run instead of row by row.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::delta_runs::{DeltaRuns, put_unsigned};
use super::parquet_file::io_error;
use crate::schema::{Column, ColumnKind};

/// The size of a page before compression. Smaller pages keep the memory of the writer small: one is
/// open for each column.
pub(super) const PAGE_BYTES: usize = 128 * 1024;
/// Rows of a page, at most. The writer keeps eight bytes for each text of the page that it is filling, so a column of one
/// text, whose page never becomes large, would take more memory than all that is in it.
pub(super) const PAGE_ROWS: usize = 256 * 1024;

/// Texts longer than this are not told as the least or the greatest of a column.
const TOLD_TEXT_BYTES: usize = 64;
/// Runs of a page of texts, at most.
const PAGE_RUNS: usize = 16 * 1024;

/// A column of a row group, while it is filled.
pub(super) struct RunColumn {
    /// Of each row whether there is a value; `None` where there always is.
    levels: Option<Vec<Run>>,
    values: Values,
    /// Rows in the page that is filled.
    page_rows: usize,
    rows: u64,
    nulls: u64,
    pages: Vec<EncodedPage>,
}

enum Values {
    Numbers { runs: DeltaRuns, is_short: bool, range: Option<(i64, i64)> },
    Texts(Texts),
}

/// Texts, each once, and the runs of their numbers.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Box<str>, u32>,
    /// As the dictionary has them.
    bytes: Vec<u8>,
    /// What most runs begin with again.
    last: Option<(Box<str>, u32)>,
    runs: Vec<Run>,
}

/// A number, and how often it follows on itself.
type Run = (u32, usize);

struct EncodedPage {
    compressed: Bytes,
    /// Before compression.
    bytes: usize,
    rows: usize,
}

impl RunColumn {
    /// Begins a column of numbers or texts.
    pub(super) fn new(column: &Column) -> Self {
        let is_short = column.kind == ColumnKind::Int32;
        let values = match column.kind {
            ColumnKind::Text => Values::Texts(Texts::default()),
            _ => Values::Numbers { runs: DeltaRuns::new(is_short), is_short, range: None },
        };
        let levels = column.nullable.then(Vec::new);
        Self { levels, values, page_rows: 0, rows: 0, nulls: 0, pages: Vec::new() }
    }

    /// Adds a number to `rows` rows.
    pub(super) fn push_number(
        &mut self,
        value: Option<i64>,
        rows: usize,
        zstd: &mut Compressor<'_>,
    ) -> io::Result<()> {
        self.push(value.is_some(), rows, zstd, |values, rows| {
            if let (Values::Numbers { runs, range, .. }, Some(value)) = (values, value) {
                runs.push(value, rows);
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
        zstd: &mut Compressor<'_>,
    ) -> io::Result<()> {
        self.push(text.is_some(), rows, zstd, |values, rows| {
            if let (Values::Texts(texts), Some(text)) = (values, text) {
                let number = texts.number_of(text);
                add(&mut texts.runs, number, rows);
            }
        })
    }

    fn push(
        &mut self,
        is_present: bool,
        mut rows: usize,
        zstd: &mut Compressor<'_>,
        push: impl Fn(&mut Values, usize),
    ) -> io::Result<()> {
        while rows > 0 {
            let fitting = rows.min(PAGE_ROWS - self.page_rows);
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
                self.end_page(zstd)?;
            }
        }
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        let is_full = match &self.values {
            Values::Numbers { runs, .. } => runs.bytes() >= PAGE_BYTES,
            Values::Texts(texts) => texts.runs.len() >= PAGE_RUNS,
        };
        is_full || self.levels.as_ref().is_some_and(|levels| levels.len() >= PAGE_RUNS)
    }

    fn end_page(&mut self, zstd: &mut Compressor<'_>) -> io::Result<()> {
        let mut page = Vec::new();
        if let Some(levels) = &mut self.levels {
            let mut bytes = Vec::new();
            put_runs(&mut bytes, levels, 1);
            page.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            page.append(&mut bytes);
            levels.clear();
        }
        match &mut self.values {
            Values::Numbers { runs, .. } => runs.finish(&mut page),
            Values::Texts(texts) => {
                let greatest = (texts.numbers.len() as u32).saturating_sub(1);
                let width = u32::BITS - greatest.leading_zeros();
                page.push(width as u8);
                put_runs(&mut page, &texts.runs, width);
                texts.runs.clear();
            }
        }
        let compressed = Bytes::from(zstd.compress(&page)?);
        let rows = std::mem::take(&mut self.page_rows);
        self.pages.push(EncodedPage { compressed, bytes: page.len(), rows });
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
        compression: Compression,
        zstd: &mut Compressor<'_>,
    ) -> io::Result<(Bytes, ColumnCloseResult)> {
        if self.page_rows > 0 {
            self.end_page(zstd)?;
        }
        let mut output = TrackedWrite::new(Vec::new());
        let mut uncompressed = 0;
        let mut dictionary = None;
        let mut writer = SerializedPageWriter::new(&mut output);
        let mut put = |page: Page, bytes: usize| -> io::Result<u64> {
            let spec = writer.write_page(CompressedPage::new(page, bytes)).map_err(io_error)?;
            uncompressed += spec.uncompressed_size as i64;
            Ok(spec.offset)
        };
        let mut encodings = vec![Encoding::RLE];
        let encoding = match &self.values {
            Values::Numbers { .. } => Encoding::DELTA_BINARY_PACKED,
            Values::Texts(texts) => {
                let page = Page::DictionaryPage {
                    buf: zstd.compress(&texts.bytes)?.into(),
                    num_values: texts.numbers.len() as u32,
                    encoding: Encoding::PLAIN,
                    is_sorted: false,
                };
                dictionary = Some(put(page, texts.bytes.len())?.cast_signed());
                encodings.push(Encoding::PLAIN);
                Encoding::RLE_DICTIONARY
            }
        };
        encodings.push(encoding);
        let mut first = None;
        for EncodedPage { compressed, bytes, rows } in std::mem::take(&mut self.pages) {
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
            .set_compression(compression)
            .set_num_values(self.rows.cast_signed())
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed)
            .set_data_page_offset(first.unwrap_or(0))
            .set_dictionary_page_offset(dictionary)
            .set_statistics(self.statistics());
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
            Values::Numbers { is_short: true, range, .. } => {
                let range = range.map(|(least, greatest)| (least as i32, greatest as i32));
                Statistics::int32(range.map(|it| it.0), range.map(|it| it.1), None, nulls, false)
            }
            Values::Numbers { range, .. } => {
                Statistics::int64(range.map(|it| it.0), range.map(|it| it.1), None, nulls, false)
            }
            Values::Texts(texts) => {
                let all = || texts.numbers.keys().map(|text| &**text);
                let told = |text: &&str| text.len() <= TOLD_TEXT_BYTES;
                let (least, greatest) = (all().min().filter(told), all().max().filter(told));
                let [least, greatest] = [least, greatest].map(|text| text.map(ByteArray::from));
                Statistics::byte_array(least, greatest, None, nulls, false)
            }
        }
    }
}

impl Texts {
    fn number_of(&mut self, text: &str) -> u32 {
        if let Some((last, number)) = &self.last
            && **last == *text
        {
            return *number;
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(text.into()).or_insert_with(|| {
            self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
            next
        });
        self.last = Some((text.into(), number));
        number
    }
}

/// Adds to the last run, or begins another.
fn add(runs: &mut Vec<Run>, value: u32, times: usize) {
    match runs.last_mut() {
        Some((last, count)) if *last == value => *count += times,
        _ => runs.push((value, times)),
    }
}

/// Appends runs of numbers of `width` bits in Parquet's encoding `RLE`.
fn put_runs(bytes: &mut Vec<u8>, runs: &[Run], width: u32) {
    for &(value, times) in runs {
        put_unsigned(bytes, (times as u64) << 1);
        bytes.extend(value.to_le_bytes().into_iter().take(width.div_ceil(8) as usize));
    }
}
