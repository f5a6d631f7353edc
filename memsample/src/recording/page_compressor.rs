//! Compression of pages, by one compressor for all: to set one up costs more than to compress a page that says little.

use std::io;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// How far back a text is found again: as far as a recording keeps rows in memory.
const WINDOW_BITS: u32 = 23;

/// Compresses the pages of a row group.
pub(super) struct PageCompressor {
    /// `None` where pages stay as they are.
    zstd: Option<(ZstdLevel, Compressor<'static>)>,
    /// Memory that is used again.
    buffer: Vec<u8>,
}

impl PageCompressor {
    /// Sets one up, for a level or for pages that stay as they are.
    ///
    /// # Errors
    ///
    /// The library refuses, for which no reason is known; as in [`compress`](Self::compress).
    pub(super) fn new(level: Option<ZstdLevel>) -> io::Result<Self> {
        let zstd = match level {
            Some(level) => {
                let mut zstd = Compressor::new(level.compression_level())?;
                zstd.set_parameter(CParameter::WindowLog(WINDOW_BITS))?;
                Some((level, zstd))
            }
            None => None,
        };
        Ok(Self { zstd, buffer: Vec::new() })
    }

    /// Returns what a file says of it.
    pub(super) fn codec(&self) -> Compression {
        self.zstd.as_ref().map_or(Compression::UNCOMPRESSED, |(level, _)| Compression::ZSTD(*level))
    }

    /// Compresses a page.
    pub(super) fn compress(&mut self, page: Vec<u8>) -> io::Result<Bytes> {
        let Some((_, zstd)) = &mut self.zstd else { return Ok(page.into()) };
        self.buffer.clear();
        self.buffer.reserve(compress_bound(page.len()));
        zstd.compress_to_buffer(&page, &mut self.buffer)?;
        Ok(Bytes::copy_from_slice(&self.buffer))
    }
}
