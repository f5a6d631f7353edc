//! The buffer through which all files of `/proc` are read.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::readlinkat_raw;
use rustix::io::{Errno, pread};

/// Enough for every file that the sampler reads in a loop. `status` is the longest: about 1.5 KiB,
/// and with 4000 supplementary groups 40 KiB.
const BUFFER_BYTES: usize = 64 * 1024;

/// Memory into which files are read, kept for the life of the sampler.
pub(crate) struct ReadBuffer(Box<[u8]>);

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    /// Reads a file that the kernel produces in one piece, as it does those of one process.
    ///
    /// A second read, only to see the end of the file, would cost half as much again.
    #[inline]
    pub(crate) fn read_piece(&mut self, file: impl AsFd) -> Result<&[u8], Errno> {
        let length = pread(file, &mut *self.0, 0)?;
        Ok(self.0.get(..length).unwrap_or_default())
    }

    /// Returns all of the memory.
    pub(crate) fn whole(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Reads where a symbolic link points.
    pub(crate) fn read_link(&mut self, directory: impl AsFd, name: &CStr) -> Result<&[u8], Errno> {
        let length = readlinkat_raw(directory, name, &mut *self.0)?;
        Ok(self.0.get(..length).unwrap_or_default())
    }

    /// Returns the first bytes of what was read last.
    pub(super) fn first(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }

    /// Reads a file to its end, or to the size of the buffer.
    ///
    /// Files of many lines, such as `vmstat`, come a page at a time.
    pub(crate) fn read_whole(&mut self, file: impl AsFd) -> Result<&[u8], Errno> {
        let mut length = 0;
        while let Some(free) = self.0.get_mut(length..).filter(|free| !free.is_empty()) {
            match pread(&file, free, length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        Ok(self.0.get(..length).unwrap_or_default())
    }
}
