//! Replacing a file, whole or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

use memsample_beneath::HeldDirectory;

/// Replaces a file by `write`'s output, whole or not at all, and returns it open.
///
/// The new contents are on disk before the old ones are gone. They are written beside `path` under a hidden
/// name that nobody can know, so that `*.parquet` does not match it. What there is at `path` is replaced, and not
/// followed if it is a link.
///
/// # Errors
///
/// The file could not be written. What was there before is as it was.
pub fn replace_file<T>(path: &Path, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    let (directory, name) = HeldDirectory::of_file(path)?;
    directory.replace(name, write)
}
