//! What was sampled since the last checkpoint, on disk within half a second.
//!
//! A journal is a file of blocks, each a piece of one zstd stream that was flushed behind it:
//!
//! ```text
//! "memsample journal 7\n"
//! block*:  length u32 LE | CRC-32 of what follows u32 LE | piece of the zstd stream
//! stream:  opening, then batch*; see `encoding`
//! ```
//!
//! A block is whole or worth nothing, so what a crash cut in two is recognised and left out; all
//! blocks before it are read. Numbers are differences from the tick before, which is why a journal is
//! a third of the size of Parquet files that are as fresh, and why only the recorder reads it.

mod encoding;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(feature = "fuzzing")]
pub(crate) use encoding::read_contents;
pub(crate) use encoding::{ImageState, Opening};
pub(crate) use reader::JournalReader;
pub(crate) use writer::JournalWriter;

const MAGIC: &[u8] = b"memsample journal 7\n";

/// The longest block: what a batch of the largest size can come to, with room to spare. Bounds what a
/// reader allocates for a broken length.
const MAX_BLOCK_BYTES: u32 = 64 << 20;
