//! Opening, listing and reading `/proc`, without allocating once the buffers have their size.
//!
//! Invariant: nothing here interprets what it read; bytes go to [`parse`](crate::parse).

mod buffer;
mod listing;
mod reader_thread;
mod root;

pub(crate) use buffer::ReadBuffer;
pub(crate) use listing::Listing;
pub(crate) use reader_thread::{Answer, MAX_AT_ONCE, ProcFile, ReaderThreads, Request};
pub(crate) use root::{MachineFile, ProcRoot, ProcessDir};
