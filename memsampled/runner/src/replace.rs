//! Replaces a file whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file whole or not at all: beside its name first, then onto it, and both on disk.
///
/// # Errors
///
/// It could not be written. What was there before is as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut partial = OsString::from(path);
    partial.push(".partial");
    let written = write(Path::new(&partial), contents).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // It is of no use, and may be what filled the disk.
        let _ = fs::remove_file(&partial);
    }
    written?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
