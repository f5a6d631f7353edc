//! Why a suite was not run on a device, or what it recorded did not come back.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why something could not be done on a device.
#[derive(Debug)]
pub enum RemoteError {
    /// A signal came before the run was started: nothing of ours is on the device.
    Stopped,
    /// The device was not reached, or does not let us in: what ssh says.
    Unreachable(String),
    /// The device cannot run it: why, and what to do.
    Refused(String),
    /// Another device cannot run it: nothing of ours is on this one.
    Withheld,
    /// The connection did not come back, or a second signal came, and files of ours stay there.
    Left(String),
    /// A step failed on the device: what it says.
    Failed(String),
    /// What is sent could not be read, or what came back not be written.
    Here(PathBuf, io::Error),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped by a signal before anything was run"),
            Self::Withheld => f.write_str("not run, since not all devices can run it"),
            Self::Unreachable(words) => write!(
                f,
                "cannot connect by ssh: {words}; check that `ssh` with the same host and user works without a \
                 question, for a key it does not know asks in a terminal only"
            ),
            Self::Refused(why) | Self::Left(why) | Self::Failed(why) => f.write_str(why),
            Self::Here(path, error) => write!(f, "`{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are in ours.
            Self::Here(_, error) => error.source(),
            _ => None,
        }
    }
}

/// Adds to an error of this machine what it is about.
pub(crate) fn here(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RemoteError {
    let path = path.into();
    move |error| RemoteError::Here(path, error)
}
