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
    /// `/proc` shows the processes of another pid namespace, with other pids: those of a test could not be found, and others
    /// would be signalled in their place.
    OtherProcesses,
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
            Self::OtherProcesses => f.write_str(
                "`/proc` is not that of this pid namespace, so that the processes of a test cannot be told from others: \
                 mount it anew, as `unshare --mount-proc` does",
            ),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory(_, error) | Self::Resume(error) => Some(error),
            Self::NotEmpty(_) | Self::OtherProcesses => None,
            // Displayed as it is.
            Self::Record(error) => std::error::Error::source(error),
        }
    }
}
