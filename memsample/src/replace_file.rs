//! Replacing a file, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Replaces a file by `write`'s output, whole or not at all, and returns it open.
///
/// The new contents are on disk before the old ones are gone. They are written beside `path` under a hidden
/// name, so that `*.parquet` does not match it.
///
/// # Errors
///
/// The file could not be written. What was there before is as it was.
pub fn replace_file<T>(path: &Path, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let outcome = File::create(&temporary).and_then(|file| {
        let value = write(&file)?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
        Ok(value)
    });
    if outcome.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    outcome
}
