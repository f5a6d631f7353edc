//! Where a writing thread puts its batches: a recording, or the ring of a flight recorder.

use std::io;

use crate::batch::Batch;
use crate::identity::Comm;
use crate::recording::{Closed, End, Manifest, RecorderUsage, RecordingWriter};

/// Where a writing thread puts its batches.
pub(crate) trait Destination: Send + 'static {
    /// Takes a batch. When this returns, it survives the end of this program.
    ///
    /// # Errors
    ///
    /// It could not be written, and nothing more can.
    fn append(&mut self, batch: &Batch) -> io::Result<()>;

    /// Returns what all files come to.
    fn size_bytes(&mut self) -> io::Result<u64>;

    /// Returns what is known of the recording.
    fn manifest(&self) -> &Manifest;

    /// The same, to add to it.
    fn manifest_mut(&mut self) -> &mut Manifest;

    /// Returns the image with the largest resident set: its name, pid and bytes.
    fn largest(&self) -> Option<(Comm, i32, u64)>;

    /// Ends it. What the recorder used is asked for at the last moment.
    fn close(self, end: End, usage: impl FnOnce() -> RecorderUsage) -> io::Result<Closed>;
}

impl Destination for RecordingWriter {
    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        Self::append(self, batch)
    }

    fn size_bytes(&mut self) -> io::Result<u64> {
        Self::size_bytes(self)
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    fn largest(&self) -> Option<(Comm, i32, u64)> {
        Self::largest(self)
    }

    fn close(self, end: End, usage: impl FnOnce() -> RecorderUsage) -> io::Result<Closed> {
        Self::close(self, end, usage)
    }
}
