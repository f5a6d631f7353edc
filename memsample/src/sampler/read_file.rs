//! Reading one file of a process, and counting what could not be read.

use std::ffi::CStr;

use rustix::io::Errno;

use crate::counts::SweepCounts;
use crate::error::ReadError;
use crate::proc::{ProcRoot, ProcessDir, ReadBuffer};

/// Counts what could not be read, and passes on only that the process has ended, or is to be read again when a descriptor
/// is free.
pub(super) fn counted(
    outcome: Result<(), ReadError>,
    counts: &mut SweepCounts,
) -> Result<(), ReadError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error @ (ReadError::Gone | ReadError::NoDescriptor)) => Err(error),
        Err(error) => {
            count(counts, &error);
            Ok(())
        }
    }
}

/// Counts why a file could not be read.
pub(super) fn count(counts: &mut SweepCounts, error: &ReadError) {
    match error {
        ReadError::Gone => counts.gone += 1,
        ReadError::Denied => counts.denied += 1,
        ReadError::Stuck => counts.stuck += 1,
        ReadError::NoDescriptor | ReadError::Io(_) | ReadError::Parse(_) => counts.unreadable += 1,
    }
}

/// Opens, reads and closes one file of a process.
///
/// Not for files that wait while the memory map is locked: those are for a [`ReaderThreads`](crate::proc::ReaderThreads).
pub(crate) fn read_file<'a>(
    root: &ProcRoot,
    buffer: &'a mut ReadBuffer,
    directory: &ProcessDir,
    name: &CStr,
) -> Result<&'a [u8], ReadError> {
    let file = directory.open_file(name).map_err(|errno| file_error(root, errno))?;
    Ok(buffer.read_piece(file)?)
}

/// Returns why a file of a process could not be opened or read.
pub(crate) fn file_error(root: &ProcRoot, errno: Errno) -> ReadError {
    match errno {
        // The process is there; its captured files are not complete.
        Errno::NOENT if !root.is_live() => ReadError::Io(errno.into()),
        errno => ReadError::from(errno),
    }
}
