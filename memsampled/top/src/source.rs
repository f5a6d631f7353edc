//! Where frames come from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::frame::Frame;

/// How much of the past a trail has.
pub const TRAIL: Duration = Duration::from_secs(60);

/// Frames in the order of time, one of which is shown.
pub trait Source {
    /// Goes on by one: a live source samples; a recording is played. Follows only if the newest frame is shown.
    ///
    /// # Errors
    ///
    /// What it reads cannot be read.
    fn advance(&mut self) -> io::Result<()>;

    /// Shows the frame so much later or earlier, or the last or the first one.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn step(&mut self, by: Step) -> io::Result<()>;

    /// Returns the frame that is shown.
    fn frame(&self) -> &Arc<Frame>;

    /// Returns the frames of the minute up to it, oldest first, itself included.
    fn trail(&self) -> &[Arc<Frame>];

    /// Returns the first and the last instant to which one can step.
    fn span(&self) -> (Timestamp, Timestamp);

    /// What is shown, in a few words.
    fn title(&self) -> String;

    /// Returns what is left to the limits of a control group, in bytes; `None` where there is no limit, or it is not
    /// known.
    fn left_of(&self, cgroup: &str) -> Option<u64>;

    /// Whether time goes on by itself.
    fn is_live(&self) -> bool;
}

/// A step in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many milliseconds on, or back; one frame at least.
    By(i64),
    /// To the oldest frame.
    First,
    /// To the newest.
    Last,
}
