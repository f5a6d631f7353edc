use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::SuiteError;

/// Bytes of a suite file, at most: ten thousand tests of 400 bytes each.
pub(super) const FILE_BYTES_MAX: usize = 4 << 20;

/// The text of a file, and where its lines are.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
}

/// Where something stands in a file: line and column from 1, in characters, and how many characters of
/// that line it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) length: u32,
}

impl Source {
    /// Takes the contents of a file.
    pub(super) fn new(path: &Path, bytes: &[u8]) -> Result<Self, SuiteError> {
        if bytes.len() > FILE_BYTES_MAX {
            let message = format!("larger than {} MiB", FILE_BYTES_MAX >> 20);
            return Err(SuiteError::of_file(
                path,
                message,
                Some("a suite of that size is several"),
            ));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::of(path, text.to_owned())),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let source = Self::of(path, String::from_utf8_lossy(valid).into_owned());
                let place = source.place(valid.len()..valid.len());
                let problems = super::error::Problems::default();
                let help = Some("save the file as UTF-8".to_owned());
                problems.add(&source, place, "not UTF-8 text".to_owned(), help);
                problems.or(source)
            }
        }
    }

    fn of(path: &Path, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect();
        Self { path: path.to_owned(), text, lines }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns a line, counted from 1; nothing behind the last.
    pub(super) fn line(&self, line: u32) -> &str {
        let start = self.lines.get(line.saturating_sub(1) as usize).copied();
        let rest = start.and_then(|start| self.text.get(start..)).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default()
    }

    /// Returns where a range of bytes stands.
    pub(super) fn place(&self, range: Range<usize>) -> Place {
        let start = range.start.min(self.text.len());
        let line = self.lines.partition_point(|first| *first <= start).max(1);
        let first = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = count_chars(self.text.get(first..start).unwrap_or_default()) + 1;
        let marked = self.text.get(start..range.end.min(self.text.len())).unwrap_or_default();
        let length = count_chars(marked.split('\n').next().unwrap_or_default());
        Place { line: u32::try_from(line).unwrap_or(u32::MAX), column, length: length.max(1) }
    }
}

/// Reads a file of a suite.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, SuiteError> {
    let failed = |error: std::io::Error| {
        let help = (error.kind() == std::io::ErrorKind::NotFound)
            .then_some("give the path of a suite file, or of a directory in UTAH's format");
        SuiteError::of_file(path, format!("cannot be read: {error}"), help)
    };
    let metadata = path.metadata().map_err(failed)?;
    // A pipe would be waited for, and a device never ends.
    if !metadata.is_file() {
        return Err(SuiteError::of_file(path, "not a file".to_owned(), None));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn count_chars(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
