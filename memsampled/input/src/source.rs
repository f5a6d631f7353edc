//! The text of a file, and where in it something is.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The bytes of which the characters are counted at once.
const STRIDE: usize = 64;

/// The text of a file, and where its lines begin.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
    /// The characters before each [`STRIDE`] bytes: a line may be as long as the file.
    chars: Vec<u32>,
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
        let chars = text.as_bytes().chunks(STRIDE).scan(0, |before, chunk| {
            let chars = *before;
            *before += count_starts(chunk);
            Some(chars)
        });
        let chars = chars.collect();
        Self { path: path.to_owned(), text, lines, chars }
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

    /// Returns how many characters begin before a byte.
    fn chars_before(&self, byte: usize) -> u32 {
        let chunk = (byte / STRIDE).min(self.chars.len().saturating_sub(1));
        let rest = self.text.as_bytes().get(chunk * STRIDE..byte).unwrap_or_default();
        self.chars.get(chunk).copied().unwrap_or(0) + count_starts(rest)
    }

    /// Returns the location of a range of bytes.
    #[must_use]
    pub fn location(&self, range: Range<usize>) -> Location {
        let start = range.start.min(self.text.len());
        let line = self.lines.partition_point(|first| *first <= start).max(1);
        let first = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.chars_before(start).saturating_sub(self.chars_before(first)) + 1;
        let line_end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        let end = range.end.min(line_end);
        let length = self.chars_before(end).saturating_sub(self.chars_before(start));
        Location { line: u32::try_from(line).unwrap_or(u32::MAX), column, length: length.max(1) }
    }
}

/// Returns how many characters begin in some bytes of UTF-8.
fn count_starts(bytes: &[u8]) -> u32 {
    let starts = bytes.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
    u32::try_from(starts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_counted_in_characters_however_long_the_line() {
        let line = "aß→𝄞".repeat(1000);
        let source = Source::new(Path::new("x"), format!("first\n{line}\nlast"));
        for (index, (at, character)) in line.char_indices().enumerate() {
            let start = "first\n".len() + at;
            let one = source.location(start..start + character.len_utf8());
            let column = u32::try_from(index).expect("few") + 1;
            assert_eq!(one, Location { line: 2, column, length: 1 });
            // To the end of the line, wherever the range ends.
            assert_eq!(source.location(start..usize::MAX).length, 4001 - column);
        }
        assert_eq!(
            source.location(usize::MAX..usize::MAX),
            Location { line: 3, column: 5, length: 1 }
        );
    }
}
