//! A recording cut out of the segments of a ring.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::joining::{Joined, join};
use super::ring::{OpenSegments, Ring};
use crate::recording::{End, Recording, RecordingState};

/// What of a [`FlightRecorder`](crate::FlightRecorder) becomes a recording.
#[derive(Clone, Debug, Default)]
pub struct DumpOptions {
    /// How much: the last so long; everything that is to be kept by default.
    pub last: Option<Duration>,
    /// What the caller wants to find in `recording.json`.
    pub labels: BTreeMap<String, String>,
}

/// Why no dump was made.
#[derive(Debug)]
#[non_exhaustive]
pub enum DumpError {
    /// There is no tick yet.
    Empty,
    /// There is a file or a directory at the path of the dump.
    Exists(PathBuf),
    /// It could not be read or written. Nothing is left behind.
    Io(PathBuf, io::Error),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the flight recorder holds no tick yet"),
            Self::Exists(path) => {
                write!(f, "`{}` exists: choose another name, or remove it", path.display())
            }
            Self::Io(path, _) => write!(f, "cannot make the dump `{}`", path.display()),
        }
    }
}

impl std::error::Error for DumpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Empty | Self::Exists(_) => None,
        }
    }
}

impl DumpError {
    /// Describes what an error means for a dump at `path`.
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists(path.to_owned()),
            _ => Self::Io(path.to_owned(), error),
        }
    }
}

/// Makes a closed recording of what a ring holds; `span` is how much it is to hold.
pub(super) fn dump(
    ring: &Ring,
    span: Duration,
    path: &Path,
    options: DumpOptions,
) -> Result<Recording, DumpError> {
    let failed = |error| DumpError::at(path, error);
    let DumpOptions { last, labels } = options;
    let asked = last.unwrap_or(span);
    let open = ring.open(asked).map_err(failed)?.ok_or(DumpError::Empty)?;
    let OpenSegments { files: segments, from_boot_ns, manifest } = open;
    let note = format!("cut out of the flight recorder, which keeps {:?}", span);
    let joined = Joined {
        segments,
        from_boot_ns,
        manifest,
        labels,
        notes: vec![note],
        end: End::Dumped,
        state: RecordingState::Closed,
    };
    join(joined, path).map_err(failed)?.recording.ok_or(DumpError::Empty)
}
