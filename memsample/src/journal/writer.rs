//! Writes a journal, block by block.

use std::fs::File;
use std::io::{self, Write};

use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

use super::encoding::{BatchEncoder, Opening};
use super::{MAGIC, MAX_BLOCK_BYTES};
use crate::batch::Batch;

/// Level 1 takes a third of the time of level 3, and the differences leave it little to find.
const ZSTD_LEVEL: i32 = 1;
/// A window of 256 KiB holds some seconds of a thousand processes, and keeps the memory small.
const ZSTD_WINDOW_LOG: u32 = 18;

/// Appends batches to a journal.
pub(crate) struct JournalWriter {
    file: File,
    stream: Encoder<'static, Vec<u8>>,
    encoder: BatchEncoder,
    bytes: u64,
}

impl JournalWriter {
    /// Writes the opening of a journal to disk, into a file that was just made.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn create(file: File, opening: &Opening) -> io::Result<Self> {
        let mut stream = Encoder::new(Vec::new(), ZSTD_LEVEL)?;
        stream.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
        let mut journal = Self { file, stream, encoder: BatchEncoder::default(), bytes: 0 };
        journal.stream.write_all(journal.encoder.opening(opening)?)?;
        journal.end_block(MAGIC)?;
        journal.sync()?;
        Ok(journal)
    }

    /// Appends a batch. When this returns, the batch survives the end of this program.
    ///
    /// # Errors
    ///
    /// The file cannot be written, such as on a full disk. What was appended before can still be
    /// read; nothing can be appended any more.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        self.stream.write_all(self.encoder.batch(batch)?)?;
        self.end_block(b"")
    }

    /// Returns how long the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes what was appended survive the end of the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes what was put into the stream as one block, behind `prefix`, with one system call.
    fn end_block(&mut self, prefix: &[u8]) -> io::Result<()> {
        self.stream.flush()?;
        let piece = self.stream.get_mut();
        let length = u32::try_from(piece.len())
            .ok()
            .filter(|&length| length <= MAX_BLOCK_BYTES)
            .ok_or_else(|| io::Error::other("a batch is larger than a block of the journal"))?;
        let mut block = Vec::with_capacity(prefix.len() + 8 + piece.len());
        block.extend_from_slice(prefix);
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&crc32fast::hash(piece).to_le_bytes());
        block.append(piece);
        self.file.write_all(&block)?;
        self.bytes += block.len() as u64;
        Ok(())
    }
}
