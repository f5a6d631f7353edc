//! Why there is no view.

use std::fmt;
use std::io;

use crate::recording::InstantError;

/// Why there is no view.
#[derive(Debug)]
#[non_exhaustive]
pub enum ViewError {
    /// The `/proc` tree cannot be read.
    Read(io::Error),
    /// The recording has nothing at that instant, or cannot be read.
    Instant(InstantError),
    /// The offset from the first tick is after the last instant that a timestamp can hold.
    OffsetTooLong,
    /// A recording does not hold what processes map.
    MappingsNotRecorded,
    /// The memory of the machine is not known.
    NoMeminfo,
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Instant(error) => write!(f, "{error}"),
            Self::OffsetTooLong => f.write_str("the instant is after the end of time"),
            Self::MappingsNotRecorded => {
                f.write_str("a recording does not hold what processes map")
            }
            Self::NoMeminfo => {
                f.write_str("the memory of the machine is not known: there is no meminfo")
            }
        }
    }
}

impl std::error::Error for ViewError {
    // The message of the inner error is already in ours.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            Self::Instant(error) => error.source(),
            Self::OffsetTooLong | Self::MappingsNotRecorded | Self::NoMeminfo => None,
        }
    }
}

impl From<io::Error> for ViewError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<InstantError> for ViewError {
    fn from(error: InstantError) -> Self {
        Self::Instant(error)
    }
}
