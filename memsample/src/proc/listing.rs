//! Lists the pids or thread ids in a directory of `/proc`.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::io::Errno;

/// One `getdents64` fills 32 KiB: about 1300 processes.
const DIRENT_BYTES: usize = 32 * 1024;
/// There is room for so many process ids, or threads of one process, before more memory is taken.
const IDS: usize = 1024;

/// The process ids of a directory, ascending, in memory that is used again for each listing.
pub(crate) struct Listing {
    entries: Box<[MaybeUninit<u8>]>,
    pids: Vec<i32>,
}

impl Listing {
    pub(crate) fn new() -> Self {
        Self { entries: Box::new_uninit_slice(DIRENT_BYTES), pids: Vec::with_capacity(IDS) }
    }

    /// Lists the process ids in `directory`, which is open for reading.
    ///
    /// # Errors
    ///
    /// The error of the system call; the ids read so far are then not returned.
    pub(crate) fn read(&mut self, directory: impl AsFd) -> Result<&[i32], Errno> {
        self.pids.clear();
        seek(&directory, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(directory, &mut self.entries);
        while let Some(entry) = entries.next() {
            if let Some(pid) = pid_from_name(entry?.file_name().to_bytes()) {
                self.pids.push(pid);
            }
        }
        // procfs lists in ascending order, a directory on disk does not.
        if !self.pids.is_sorted() {
            self.pids.sort_unstable();
        }
        Ok(&self.pids)
    }
}

/// Returns the process id that a directory name stands for; `self`, `1x` and `007` are none.
fn pid_from_name(name: &[u8]) -> Option<i32> {
    if name.first().is_none_or(|&first| first == b'0') {
        return None;
    }
    name.iter().try_fold(0_i32, |pid, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        pid.checked_mul(10)?.checked_add(i32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_positive_numbers_are_pids() {
        assert_eq!(pid_from_name(b"1"), Some(1));
        assert_eq!(pid_from_name(b"4194304"), Some(4_194_304));
        for name in [&b""[..], b"0", b"07", b"self", b"1x", b"-1", b"99999999999"] {
            assert_eq!(pid_from_name(name), None);
        }
    }
}
