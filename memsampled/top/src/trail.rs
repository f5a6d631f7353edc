//! The last minute of each row.

use std::collections::HashMap;
use std::sync::Arc;

use crate::frame::Frame;
use crate::row_key::{By, RowKey};
use crate::source::TRAIL;

/// The length of a trail.
const TRAIL_MS: i64 = TRAIL.as_millis() as i64;

/// The frames of the last minute, and the sums of groups at each of them.
#[derive(Debug, Default)]
pub struct Trail {
    frames: Vec<Arc<Frame>>,
    /// The sums of the groups of each frame, in the order of `frames`; empty where there are no groups.
    sums: Vec<HashMap<Arc<str>, u64>>,
    /// The groups of which they are.
    by: Option<By>,
}

impl Trail {
    /// Takes other frames. The sums of those that are still among them are kept.
    pub fn set(&mut self, frames: &[Arc<Frame>], by: By) {
        let mut known: HashMap<i64, HashMap<Arc<str>, u64>> = HashMap::new();
        if self.by == Some(by) {
            let sums = std::mem::take(&mut self.sums);
            known = self.frames.iter().map(|frame| frame.at.as_millisecond()).zip(sums).collect();
        }
        self.frames = frames.to_vec();
        self.by = Some(by);
        self.sums = match by {
            By::Process => Vec::new(),
            by => frames
                .iter()
                .map(|frame| {
                    known.remove(&frame.at.as_millisecond()).unwrap_or_else(|| sums_of(frame, by))
                })
                .collect(),
        };
    }

    /// Returns the resident sets of a row: times in milliseconds and bytes, oldest first. Instants at which it was not
    /// there are left out.
    #[must_use]
    pub fn points(&self, key: &RowKey) -> Vec<(i64, u64)> {
        let at = |frame: &Arc<Frame>| frame.at.as_millisecond();
        match key {
            RowKey::Image(image) => self
                .frames
                .iter()
                .filter_map(|frame| Some((at(frame), frame.process(*image)?.rss.bytes()?)))
                .collect(),
            RowKey::Group(name) => self
                .frames
                .iter()
                .zip(&self.sums)
                .filter_map(|(frame, sums)| Some((at(frame), *sums.get(name)?)))
                .collect(),
        }
    }

    /// Returns the minute that ends with the last frame, in milliseconds; there may be no frames at its begin.
    #[must_use]
    pub fn span(&self) -> Option<(i64, i64)> {
        let last = self.frames.last()?.at.as_millisecond();
        Some((last - TRAIL_MS, last))
    }
}

fn sums_of(frame: &Frame, by: By) -> HashMap<Arc<str>, u64> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for process in &frame.processes {
        if let Some(group) = by.group(process) {
            let sum = sums.entry(group).or_default();
            *sum = sum.saturating_add(process.rss.bytes().unwrap_or(0));
        }
    }
    sums.into_iter().map(|(name, sum)| (Arc::from(name), sum)).collect()
}
