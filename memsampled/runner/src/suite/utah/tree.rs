//! Where the files of a directory come from, and who lists the tests of `tslist.auto`.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::suite::suite_file::SUITE_FILE;

/// Where the files of a directory in UTAH's format are.
pub trait Tree {
    /// Returns the bytes of a file; `None` where it is not there.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, as a sentence about the file.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String>;

    /// Returns whether there is such a file.
    fn is_file(&self, path: &Path) -> bool;

    /// Runs a line of shell that lists tests, or that makes what is listed, and returns what it printed.
    ///
    /// # Errors
    ///
    /// What went wrong, as the end of a sentence.
    fn discover(&self, line: &str, cwd: &Path, timeout: Duration) -> Result<String, String>;
}

/// The file system, and who runs a command that lists tests.
pub(in crate::suite) struct Disk<'a>(pub(in crate::suite) &'a Discover<'a>);

/// Runs a line of shell that lists tests, in a directory, as [`Tree::discover`] does.
pub type Discover<'a> = dyn Fn(&str, &Path, Duration) -> Result<String, String> + 'a;

impl Tree for Disk<'_> {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // The path of what a file names as a directory.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            _ => SUITE_FILE.read(path).map(Some).map_err(|error| {
                error.problems().first().map_or_else(String::new, |problem| problem.message.clone())
            }),
        }
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn discover(&self, line: &str, cwd: &Path, timeout: Duration) -> Result<String, String> {
        (self.0)(line, cwd, timeout)
    }
}
