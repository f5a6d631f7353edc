//! Lock files, which say to other daemons that something is taken.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use memsample_beneath::HeldDirectory;

/// Says to other daemons that something is taken. The kernel gives it back when the daemon ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes a lock; `None` if another program has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let (directory, name) = HeldDirectory::of_file(path)?;
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot lock `{}`: {error}", path.display()))
        };
        let file = directory.lock_file(name).map_err(named)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
