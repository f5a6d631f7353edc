//! Frames of this machine, now and up to some minutes ago.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cgroup_limits::CgroupLimits;
use crate::frame::{Frame, MachineMemory};
use crate::source::{MAX_TRAIL, Source, Step, TRAIL, stepped};

/// How many processes of all frames are kept: 48 bytes each.
const MAX_KEPT: usize = 1_000_000;

/// Who samples this machine.
pub trait Feed {
    /// Returns the newest frame; `None` where there is none since the last call.
    fn next(&mut self) -> Option<Frame>;

    /// What is sampled, and by whom, in a few words.
    fn title(&self) -> String;
}

/// The frames that a feed gives.
pub struct LiveSource {
    feed: Box<dyn Feed>,
    limits: CgroupLimits,
    frames: VecDeque<Arc<Frame>>,
    /// The processes of all frames.
    kept: usize,
    /// The frame that is shown.
    shown: usize,
    frame: Arc<Frame>,
    trail: Vec<Arc<Frame>>,
}

impl LiveSource {
    /// Shows what a feed gives, from its first frame on.
    #[must_use]
    pub fn new(feed: impl Feed + 'static) -> Self {
        let empty = Frame {
            at: Timestamp::UNIX_EPOCH,
            processes: Vec::new(),
            machine: MachineMemory::default(),
        };
        let mut source = Self {
            feed: Box::new(feed),
            limits: CgroupLimits::default(),
            frames: VecDeque::new(),
            kept: 0,
            shown: 0,
            frame: Arc::new(empty),
            trail: Vec::new(),
        };
        source.take(true);
        source
    }

    /// Takes the newest frame.
    fn take(&mut self, follows: bool) {
        let was_newest = self.shown + 1 >= self.frames.len();
        let Some(frame) = self.feed.next() else { return };
        self.kept += frame.processes.len();
        self.frames.push_back(Arc::new(frame));
        while self.kept > MAX_KEPT && self.frames.len() > 2 {
            self.kept -= self.frames.pop_front().map_or(0, |oldest| oldest.processes.len());
            self.shown = self.shown.saturating_sub(1);
        }
        if follows && was_newest {
            self.shown = self.frames.len().saturating_sub(1);
        }
        self.show();
    }

    /// Takes the shown frame and the minute before it.
    fn show(&mut self) {
        let Some(shown) = self.frames.get(self.shown) else { return };
        self.frame = Arc::clone(shown);
        let since = shown.at - TRAIL;
        let first = self.frames.partition_point(|frame| frame.at < since);
        let frames = self.frames.range(first..=self.shown);
        let every = frames.len().div_ceil(MAX_TRAIL).max(1);
        // The shown one is always among them.
        self.trail = frames.rev().step_by(every).cloned().collect();
        self.trail.reverse();
    }
}

impl Source for LiveSource {
    fn advance(&mut self, follows: bool) -> io::Result<()> {
        self.take(follows);
        Ok(())
    }

    fn step(&mut self, by: Step) -> io::Result<()> {
        let newest = self.frames.len().saturating_sub(1);
        let Some(shown) = self.frames.get(self.shown) else { return Ok(()) };
        let at_ms = shown.at.as_millisecond();
        let up_to = |ms: i64| self.frames.partition_point(|it| it.at.as_millisecond() <= ms);
        self.shown = stepped(by, (self.shown, at_ms), newest, up_to);
        self.show();
        Ok(())
    }

    fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    fn trail(&self) -> &[Arc<Frame>] {
        &self.trail
    }

    fn span(&self) -> (Timestamp, Timestamp) {
        let at = |frame: Option<&Arc<Frame>>| frame.map_or(Timestamp::UNIX_EPOCH, |frame| frame.at);
        (at(self.frames.front()), at(self.frames.back()))
    }

    fn title(&self) -> String {
        self.feed.title()
    }

    fn left_of(&self, cgroup: &str) -> Option<u64> {
        self.limits.left_of(cgroup)
    }

    fn is_live(&self) -> bool {
        true
    }
}
