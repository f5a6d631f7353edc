//! Reads a journal up to where it is whole.

use std::io::{self, ErrorKind, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::encoding::{BatchDecoder, Opening};
use super::{MAGIC, MAX_BLOCK_BYTES};
use crate::batch::Batch;

/// What one block may come to. A block of a recorder is a thousand times smaller; a crafted one could
/// fill the memory.
const MAX_CONTENTS_BYTES: usize = 256 << 20;
/// A journal's window is smaller. Bounds the memory that a crafted stream asks for.
const MAX_WINDOW_LOG: u32 = 23;

/// Reads a journal, as far as it goes.
pub(crate) struct JournalReader<R> {
    file: R,
    stream: Decoder<'static>,
    decoder: BatchDecoder,
    contents: Vec<u8>,
    state: ReaderState,
}

/// Where reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderState {
    Open,
    /// The file ended behind a whole block.
    Ended,
    /// Behind the last whole block is something else: the end of a block that a crash cut off.
    Torn,
}

impl<R: Read> JournalReader<R> {
    /// Reads the opening.
    ///
    /// # Errors
    ///
    /// The file cannot be read; or, of kind [`ErrorKind::InvalidData`], it is not a journal, is one
    /// of another version, or was cut before the end of its opening.
    pub(crate) fn open(mut file: R) -> io::Result<(Opening, Self)> {
        let not_a_journal =
            || io::Error::new(ErrorKind::InvalidData, "not a journal of this version");
        let mut magic = [0; MAGIC.len()];
        if read_up_to(&mut file, &mut magic)? < MAGIC.len() || magic != MAGIC {
            return Err(not_a_journal());
        }
        let mut stream = Decoder::new()?;
        stream.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        let decoder = BatchDecoder::default();
        let mut reader =
            Self { file, stream, decoder, contents: Vec::new(), state: ReaderState::Open };
        let opening =
            if reader.next_block()? { reader.decoder.opening(&reader.contents) } else { None };
        Ok((opening.ok_or_else(not_a_journal)?, reader))
    }

    /// Appends the next block to `batch`, and returns whether there was one.
    ///
    /// # Errors
    ///
    /// The file cannot be read. What is not a block ends the journal and is no error; see
    /// [`is_torn`](Self::is_torn).
    pub(crate) fn next(&mut self, batch: &mut Batch) -> io::Result<bool> {
        if self.state != ReaderState::Open || !self.next_block()? {
            return Ok(false);
        }
        if self.decoder.batch(&self.contents, batch).is_none() {
            self.state = ReaderState::Torn;
        }
        Ok(true)
    }

    /// Returns whether something that is not a whole block was found behind the last one.
    pub(crate) fn is_torn(&self) -> bool {
        self.state == ReaderState::Torn
    }

    /// Returns what is in the last block that was read.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Reads and expands a block into `contents`; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut head = [0; 8];
        match read_up_to(&mut self.file, &mut head)? {
            0 => {
                self.state = ReaderState::Ended;
                return Ok(false);
            }
            8 => {}
            _ => return self.torn(),
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > MAX_BLOCK_BYTES {
            return self.torn();
        }
        let mut piece = Vec::new();
        // Grows as bytes come, so that a broken length allocates nothing.
        (&mut self.file).take(length.into()).read_to_end(&mut piece)?;
        let whole = piece.len() == length as usize;
        if !whole || crc32fast::hash(&piece) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return self.torn();
        }
        self.contents.clear();
        if expand(&mut self.stream, &piece, &mut self.contents).is_none() {
            return self.torn();
        }
        Ok(true)
    }

    fn torn(&mut self) -> io::Result<bool> {
        self.state = ReaderState::Torn;
        Ok(false)
    }
}

/// Expands a flushed piece of a zstd stream. `None` where it is not one, or too large.
fn expand(stream: &mut Decoder<'static>, mut piece: &[u8], contents: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let status = stream.run_on_buffers(piece, &mut chunk).ok()?;
        piece = piece.get(status.bytes_read..)?;
        contents.extend_from_slice(chunk.get(..status.bytes_written)?);
        if contents.len() > MAX_CONTENTS_BYTES {
            return None;
        }
        // A chunk that is not full means that the decoder holds nothing back.
        if piece.is_empty() && status.bytes_written < chunk.len() {
            return Some(());
        }
        if status.bytes_read == 0 && status.bytes_written == 0 {
            return None;
        }
    }
}

/// Fills `buffer` as far as the file goes, and returns how far.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
