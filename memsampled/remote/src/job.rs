//! What is to be done on devices, and what comes of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::RemoteError;
use crate::patience::Patience;
use crate::payload::Payload;

/// In the time after which a run is ended it is followed anew as often, so that a slow device does not end it.
const FOLLOWED_WITHIN: u64 = 4;
/// The longest time for which one call follows.
const LONGEST_FOLLOWED_SECONDS: u64 = 60;

/// What is to be done on each device.
#[derive(Debug)]
pub struct Job {
    /// What is sent.
    pub payload: Payload,
    /// Directory here below which the directory of each run comes. It is there.
    pub out: PathBuf,
    /// How long a connection that was cut is tried again.
    pub patience: Patience,
    /// How long a run goes on that nobody follows; for ever without.
    pub unfollowed_for: Option<Duration>,
}

impl Job {
    /// Returns the seconds after which a run that nobody follows is ended, and those for which one call follows it: each
    /// call shows the device that somebody is there. 0 and 0 where it goes on.
    pub(crate) fn unfollowed_seconds(&self) -> (u64, u64) {
        self.unfollowed_for.map_or((0, 0), |it| {
            let seconds = it.as_secs().max(1);
            (seconds, (seconds / FOLLOWED_WITHIN).clamp(1, LONGEST_FOLLOWED_SECONDS))
        })
    }
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
