//! A directory that only this program uses, and that is gone with it.

use std::io;
use std::path::{Path, PathBuf};

use crate::directory::HeldDirectory;
use crate::removal::remove_tree;
use crate::temporary::temporary_name;

/// A directory below that of temporary files which nobody else may enter. Removed when it is dropped.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
}

impl PrivateDirectory {
    /// Makes it; its name begins with `.NAME.`.
    ///
    /// # Errors
    ///
    /// The directory of temporary files cannot be written to.
    pub fn create(name: &str) -> io::Result<Self> {
        let above = std::env::temp_dir();
        let name = temporary_name(name.as_ref());
        HeldDirectory::open(&above)?.create_directory(&name, 0o700)?;
        Ok(Self { path: above.join(name) })
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // What is left is in the directory of temporary files.
        if let Ok((above, name)) = HeldDirectory::of_file(&self.path) {
            let _ = remove_tree(&above, name);
        }
    }
}
