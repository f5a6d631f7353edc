//! The text of a file, and where in it something is.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The text of a file, and where its lines begin.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
}

/// Where something is in a file: line and column from 1, in characters, and how many characters of that line it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The length on that line, at least 1, in characters.
    pub length: u32,
}

impl Source {
    /// Takes the text of a file; `path` names it in messages.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect();
        Self { path: path.to_owned(), text, lines }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns a line, counted from 1; nothing behind the last.
    #[must_use]
    pub fn line(&self, line: u32) -> &str {
        let start = self.lines.get(line.saturating_sub(1) as usize).copied();
        let rest = start.and_then(|start| self.text.get(start..)).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default()
    }

    /// Returns the location of a range of bytes.
    #[must_use]
    pub fn location(&self, range: Range<usize>) -> Location {
        let start = range.start.min(self.text.len());
        let line = self.lines.partition_point(|first| *first <= start).max(1);
        let first = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = count_chars(self.text.get(first..start).unwrap_or_default()) + 1;
        let marked = self.text.get(start..range.end.min(self.text.len())).unwrap_or_default();
        let length = count_chars(marked.split('\n').next().unwrap_or_default());
        Location { line: u32::try_from(line).unwrap_or(u32::MAX), column, length: length.max(1) }
    }
}

fn count_chars(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
