//! Files that a person has written: read within a bound, and decoded as UTF-8.

use std::io::{self, Read as _};
use std::path::Path;

use memsample_beneath::open_regular;

use super::problem::{InputError, Problems};
use super::source::Source;

/// What a kind of file may be, and what to do where it is not.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// The largest size, in bytes: whole mebibytes.
    pub bytes_max: usize,
    /// What to do where the file is larger.
    pub too_large_help: &'static str,
    /// What to do where there is no such file.
    pub absent_help: &'static str,
}

impl FileKind {
    /// Reads the bytes of a file, at most one more than it may have.
    ///
    /// # Errors
    ///
    /// If it is not a regular file, or cannot be read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, InputError> {
        let failed = |error: io::Error| {
            let help = (error.kind() == io::ErrorKind::NotFound).then_some(self.absent_help);
            InputError::of_file(path, format!("cannot be read: {error}"), help)
        };
        // A pipe would be waited for, and a device never ends.
        let file = open_regular(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => InputError::of_file(path, "not a file".to_owned(), None),
            _ => failed(error),
        })?;
        let mut bytes = Vec::new();
        file.take(self.bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Decodes the bytes of a file; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// If it is larger than it may be, or not UTF-8.
    pub fn decode(&self, path: &Path, bytes: &[u8]) -> Result<Source, InputError> {
        if bytes.len() > self.bytes_max {
            let message = format!("larger than {} MiB", self.bytes_max >> 20);
            return Err(InputError::of_file(path, message, Some(self.too_large_help)));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Source::new(path, text.to_owned())),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let source = Source::new(path, String::from_utf8_lossy(valid).into_owned());
                let location = source.location(valid.len()..valid.len());
                let problems = Problems::default();
                let help = Some("save the file as UTF-8".to_owned());
                problems.add(&source, location, "not UTF-8 text".to_owned(), help);
                problems.or(source)
            }
        }
    }
}
