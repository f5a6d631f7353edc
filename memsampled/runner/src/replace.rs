//! Replaces a file whole or not at all.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permissions of a new file, of which the umask takes some away: as of any file.
const MODE: u32 = 0o666;

/// Writes a file whole or not at all: beside its name first, then onto it, and both on disk.
///
/// # Errors
///
/// It could not be written. What was there before is as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut prefix = OsString::from(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".partial")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(parent)?;
    // Of no use if it cannot be written whole, it is removed when it is dropped: it may be what filled the disk.
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_new_file_has_the_permissions_of_any_file() {
        let directory = tempfile::tempdir().unwrap();
        let mode =
            |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        fs::write(directory.path().join("any"), "").unwrap();
        replace(&directory.path().join("replaced"), b"").unwrap();
        assert_eq!(mode("replaced"), mode("any"));
    }
}
