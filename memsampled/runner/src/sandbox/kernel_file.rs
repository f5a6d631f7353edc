//! Files of the kernel, which say nothing of their length: read with two system calls each.
//!
//! The functions of the standard library ask for the length, are told zero, and begin with 32 bytes: five to twelve system
//! calls for a file of a control group, of which an attempt reads a hundred.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Most are shorter; what is longer is read in more pieces.
const PIECE_BYTES: usize = 4096;

/// Reads a file.
///
/// # Errors
///
/// It cannot be opened or read.
pub(super) fn bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PIECE_BYTES);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file that is text.
///
/// # Errors
///
/// It cannot be opened or read, or is not UTF-8.
pub(super) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_a_piece_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 1] {
            std::fs::write(&path, "x".repeat(length)).unwrap();
            assert_eq!(text(&path).unwrap().len(), length);
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(text(&path).is_err());
        assert!(bytes(directory.path().join("absent")).is_err());
        assert_eq!(
            text("/proc/self/status").unwrap().lines().next().unwrap().get(..5),
            Some("Name:")
        );
    }
}
