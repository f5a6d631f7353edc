//! Where things are in the directory of results.

use std::path::{Path, PathBuf};

use crate::results::Attempt;

/// Bytes of a test's name that are in the name of its directory.
const MAX_SLUG_BYTES: usize = 64;

/// Where things are in the directory of results.
///
/// ```text
/// recording/, recording-2/, …    what was recorded; one more for each time that the run was resumed
/// progress.jsonl                 the attempts that have ended
/// setup/, teardown/              what the suite's setup and teardown wrote
/// tests/0007-name/1.2/           the second attempt of the first repetition of the seventh test:
///     stdout, stderr, artifacts/
/// ```
pub(super) struct Layout<'a> {
    directory: &'a Path,
}

impl<'a> Layout<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory }
    }

    /// Returns where a recording is: the first, or that of a later part of a resumed run.
    pub(super) fn recording(&self, number: u32) -> PathBuf {
        self.directory.join(recording_name(number))
    }

    /// Returns the directory of an attempt of the test at `index` of its suite.
    pub(super) fn attempt(&self, index: usize, attempt: &Attempt) -> PathBuf {
        let name = format!("{:04}-{}", index + 1, slug(&attempt.test));
        let tests = self.directory.join("tests").join(name);
        tests.join(format!("{}.{}", attempt.repetition, attempt.attempt))
    }

    /// Returns the directory of the suite's own steps.
    pub(super) fn step(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns a path below the directory of results relative to it.
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.directory).unwrap_or(path).to_owned()
    }
}

/// Returns the name of a recording in the directory of results.
pub(crate) fn recording_name(number: u32) -> String {
    match number {
        0 | 1 => "recording".to_owned(),
        number => format!("recording-{number}"),
    }
}

/// Returns a name for a path, with `_` for all but letters, digits, `.`, `_` and `-`.
fn slug(name: &str) -> String {
    let part = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => character,
        _ => '_',
    };
    name.chars().map(part).take(MAX_SLUG_BYTES).collect()
}
