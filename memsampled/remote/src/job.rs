//! What is to be done on devices, and what comes of it.

use std::path::PathBuf;

use crate::error::RemoteError;
use crate::patience::Patience;
use crate::payload::Payload;

/// What is to be done on each device.
#[derive(Debug)]
pub struct Job {
    /// What is sent.
    pub payload: Payload,
    /// Directory here below which the directory of each run comes. It is there.
    pub out: PathBuf,
    /// How long a connection that was cut is tried again.
    pub patience: Patience,
}

/// What came of one device.
#[derive(Debug)]
pub struct Outcome {
    /// What its lines begin with.
    pub device: String,
    /// What came back, or why nothing did.
    pub result: Result<Returned, RemoteError>,
}

/// What a device gave back.
#[derive(Debug)]
pub struct Returned {
    /// The exit code of the run; `None` if it was killed or the device restarted.
    pub code: Option<i32>,
    /// What it printed, with the path of the run here.
    pub stdout: Vec<u8>,
    /// The directory of the run; `None` if it made none.
    pub directory: Option<PathBuf>,
}
