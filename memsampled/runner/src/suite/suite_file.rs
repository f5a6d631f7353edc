//! What a suite file or policy may be, and the error of one that cannot be understood.

use std::fmt;

use memsample_input::{FileKind, InputError, Problem};

/// Suite files, policies and the files of a directory in UTAH's format: ten thousand tests of 400 bytes each.
pub(super) const SUITE_FILE: FileKind = FileKind {
    bytes_max: 4 << 20,
    too_large_help: "a suite of that size is several",
    absent_help: "give the path of a suite file, or of a directory in UTAH's format",
};

/// Why a suite or policy cannot be understood: every problem that was found, with file, line and column.
///
/// Its display is that of [`InputError`]: several lines for each problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteError(InputError);

impl SuiteError {
    /// Returns the problems, by file, line and column. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.0.problems()
    }
}

impl From<InputError> for SuiteError {
    fn from(error: InputError) -> Self {
        Self(error)
    }
}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SuiteError {}
