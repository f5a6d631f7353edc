//! Files with tokens and secrets, which only their owner may read.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use memsample_beneath::open_regular;

/// What a file with a secret holds, and whose it is.
#[derive(Debug)]
pub struct SecretFile {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Why a file with a secret is not read.
#[derive(Debug)]
pub enum SecretFileError {
    /// It cannot be read, or is no regular file.
    Unreadable(io::Error),
    /// Others than its owner may read it.
    Open,
    /// It is larger than anything of its kind.
    TooLarge,
}

impl SecretFile {
    /// Reads a file of at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// See [`SecretFileError`].
    pub fn read(path: &Path, bytes_max: u64) -> Result<Self, SecretFileError> {
        let file = open_regular(path).map_err(SecretFileError::Unreadable)?;
        let metadata = file.metadata().map_err(SecretFileError::Unreadable)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(SecretFileError::Open);
        }
        let mut bytes = Vec::new();
        let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(SecretFileError::Unreadable)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(SecretFileError::TooLarge),
            false => Ok(Self { bytes, uid: metadata.uid(), gid: metadata.gid() }),
        }
    }
}
