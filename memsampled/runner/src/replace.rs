//! Replaces a file whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use memsample::replace_file;

/// Writes a file whole or not at all: beside its name first, then onto it, and both on disk.
///
/// # Errors
///
/// It could not be written. What was there before is as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace_file(path, |mut file| file.write_all(contents))?;
    // The name too must survive a power failure.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
