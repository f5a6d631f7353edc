//! Where frames come from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::frame::Frame;

/// How much of the past a trail has.
pub const TRAIL: Duration = Duration::from_secs(60);
/// The frames of a trail, at most.
pub(crate) const MAX_TRAIL: usize = 240;

/// Frames in the order of time, one of which is shown.
pub trait Source {
    /// Goes on by one: a live source samples, and shows what it has sampled if it `follows` and the newest frame was shown;
    /// a recording that `follows` is played.
    ///
    /// # Errors
    ///
    /// What it reads cannot be read.
    fn advance(&mut self, follows: bool) -> io::Result<()>;

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

/// Returns the frame to which a step leads. `shown` is the frame that is shown and its time, `newest` the last frame, and
/// `up_to` returns how many frames there are up to a time; times are in milliseconds since 1970.
pub(crate) fn stepped(
    by: Step,
    (shown, at_ms): (usize, i64),
    newest: usize,
    up_to: impl Fn(i64) -> usize,
) -> usize {
    match by {
        Step::First => 0,
        Step::Last => newest,
        Step::By(ms) if ms < 0 => up_to(at_ms + ms).saturating_sub(1).min(shown.saturating_sub(1)),
        // The first one that is as late.
        Step::By(ms) => up_to(at_ms + ms - 1).max(shown + 1).min(newest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_frame_at_least() {
        let frames = [0_i64, 100, 200, 300, 1000];
        let up_to = |ms: i64| frames.partition_point(|&at| at <= ms);
        let step = |by, shown: usize| stepped(by, (shown, frames[shown]), 4, up_to);
        assert_eq!([step(Step::By(1), 1), step(Step::By(150), 1), step(Step::By(1), 4)], [2, 3, 4]);
        assert_eq!([step(Step::By(-1), 1), step(Step::By(-700), 4)], [0, 3]);
        assert_eq!([step(Step::By(-1), 0), step(Step::First, 3), step(Step::Last, 0)], [0, 0, 4]);
    }
}
