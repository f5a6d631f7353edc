//! What comes of reading a process.

use super::apply::StatmReading;
use super::entry::Addresses;
use super::image_description::ImageDescription;

/// What became of a process when it was read.
pub(super) enum Reading {
    /// It has been read, as far as the kernel allowed.
    Alive,
    /// It has begun another program. Its numbers are those of the new one.
    NewImage(ImageDescription),
    /// It has no memory any more: it ended, and waits to be reaped.
    NoMemory,
    /// It has been reaped.
    Gone,
    /// No descriptor was free for it: it is to be read again when there is one.
    NoDescriptor,
}

/// How a process is read whose `statm` said that it has no memory.
pub(super) struct Adopted {
    /// What `statm` says of the memory.
    pub(super) reading: StatmReading,
    /// Those of the memory where another thread stands in: the kernel shows none under the pid of an ended thread. `None`
    /// where the first thread has memory again, and had none.
    pub(super) stand_in: Option<Addresses>,
}
