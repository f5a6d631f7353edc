//! What comes of reading a process.

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
