//! Why a recording could not be begun or finished.

use std::io;
use std::path::PathBuf;

use super::options::OptionsError;
use crate::scope::ScopeError;

/// Recordings that one sampler feeds at the same time, at most.
pub(super) const MAX_RECORDINGS: usize = 64;

/// Why a recording could not be begun or finished.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// An option is out of range.
    Options(OptionsError),
    /// There is a file or a directory at the path of the recording.
    Exists(PathBuf),
    /// The directory of the recording could not be made or written.
    Create(PathBuf, io::Error),
    /// `/proc` could not be read.
    Proc(io::Error),
    /// The target is no scope.
    Target(ScopeError),
    /// The sampler feeds as many recordings as it can: [`SharedSampler::MAX_RECORDINGS`](crate::SharedSampler::MAX_RECORDINGS).
    TooMany,
    /// The recording could not be closed. What was written is in the directory; when the cause is
    /// gone, [`Recording::recover`](crate::Recording::recover) puts it together.
    Close(PathBuf, io::Error),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::Exists(path) => {
                write!(f, "`{}` exists: choose another name, or remove it", path.display())
            }
            Self::Create(path, _) => write!(f, "cannot begin the recording `{}`", path.display()),
            Self::Proc(_) => f.write_str("cannot sample processes"),
            Self::Target(error) => error.fmt(f),
            Self::TooMany => {
                write!(f, "{} recordings are being made: stop one first", MAX_RECORDINGS)
            }
            Self::Close(path, _) => write!(
                f,
                "cannot close the recording `{path}`; what was written is kept, and `memsample recover {path}` \
                 puts it together when the cause is gone",
                path = path.display()
            ),
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create(_, error) | Self::Proc(error) | Self::Close(_, error) => Some(error),
            // Displayed as it is.
            Self::Options(error) => error.source(),
            Self::Target(error) => error.source(),
            Self::Exists(_) | Self::TooMany => None,
        }
    }
}
