//! Why a recording was not made of another one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Why a recording was not made of another one. Nothing is left behind then.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExcerptError {
    /// The recording is still being written.
    InProgress(PathBuf),
    /// The span has no tick of the recording in it.
    NoTick {
        /// The begin of the span.
        from: Timestamp,
        /// The end of the span.
        to: Timestamp,
        /// The first and the last tick of the recording; `None` where it has none.
        ticks: Option<(Timestamp, Timestamp)>,
    },
    /// There is something at the path of the new recording.
    Exists(PathBuf),
    /// A table of the recording is missing or damaged.
    Read(PathBuf, io::Error),
    /// The new recording could not be written.
    Write(PathBuf, io::Error),
}

impl ExcerptError {
    /// Describes what an error means for what is written at `path`.
    pub(super) fn writing(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists(path.to_owned()),
            _ => Self::Write(path.to_owned(), error),
        }
    }
}

impl fmt::Display for ExcerptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProgress(path) => write!(
                f,
                "`{}` is still being written: stop its recorder first. If that was killed, complete the recording \
                 with `memsample recover`",
                path.display()
            ),
            Self::NoTick { ticks: None, .. } => f.write_str("the recording has no tick"),
            Self::NoTick { from, to, ticks: Some((first, last)) }
                if from > to && from <= last && to >= first =>
            {
                write!(f, "the span ends before it begins: from {from:.3} to {to:.3}")
            }
            Self::NoTick { from, ticks: Some((first, last)), .. } if from > last => write!(
                f,
                "the span begins at {from:.3}, and the last tick of the recording is at {last:.3}, {:.1} s after the \
                 first",
                last.duration_since(*first).as_secs_f64(),
            ),
            Self::NoTick { to, ticks: Some((first, _)), .. } if to < first => write!(
                f,
                "the span ends at {to:.3}, and the first tick of the recording is at {first:.3}"
            ),
            Self::NoTick { from, to, ticks: Some((first, last)) } => write!(
                f,
                "no tick of the recording is between {from:.3} and {to:.3}: it goes from {first:.3} to {last:.3} \
                 ({:.1} s)",
                last.duration_since(*first).as_secs_f64(),
            ),
            Self::Exists(path) => {
                write!(f, "`{}` exists: choose another name, or remove it", path.display())
            }
            Self::Read(path, _) => write!(f, "cannot read the recording `{}`", path.display()),
            Self::Write(path, _) => write!(f, "cannot write `{}`", path.display()),
        }
    }
}

impl std::error::Error for ExcerptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) | Self::Write(_, error) => Some(error),
            Self::InProgress(_) | Self::NoTick { .. } | Self::Exists(_) => None,
        }
    }
}
