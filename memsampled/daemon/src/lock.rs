//! Lock files, which say to other daemons that something is taken.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Says to other daemons that something is taken. The kernel gives it back when the daemon ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes a lock; `None` if another program has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
