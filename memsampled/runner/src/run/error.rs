//! Why a suite could not be run.

use std::fmt;
use std::io;
use std::path::PathBuf;

use memsample::RecordError;

/// Why a suite could not be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The directory of results cannot be made or read.
    Directory(PathBuf, io::Error),
    /// The directory of results holds something, and the run is not to be resumed.
    NotEmpty(PathBuf),
    /// What an earlier run noted cannot be used.
    Resume(io::Error),
    /// The recording cannot be begun or closed.
    Record(RecordError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, _) => write!(f, "cannot write results to `{}`", path.display()),
            Self::NotEmpty(path) => {
                write!(f, "`{}` is not empty: choose another directory, or resume", path.display())
            }
            Self::Resume(_) => f.write_str("cannot resume"),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory(_, error) | Self::Resume(error) => Some(error),
            Self::NotEmpty(_) => None,
            // Displayed as it is.
            Self::Record(error) => std::error::Error::source(error),
        }
    }
}
