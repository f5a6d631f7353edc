//! The last minute of each row.

use std::collections::HashMap;
use std::sync::Arc;

use crate::frame::Frame;
use crate::growth::Growth;
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

/// What the trail says of a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// How its resident set grew.
    pub growth: Growth,
    /// The largest resident set, in bytes; `None` where it was never there.
    pub largest: Option<u64>,
}

impl Past {
    fn add(&mut self, ms: i64, bytes: u64) {
        self.growth.add(ms, bytes);
        self.largest = self.largest.max(Some(bytes));
    }
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

    /// Returns the same of many rows, one for each. Images are ascending, so that a frame is gone through with them: of
    /// thousands of processes, looking each up in each frame would take as long as the time between two of them.
    #[must_use]
    pub fn pasts(&self, keys: &[&RowKey]) -> Vec<Past> {
        let mut pasts = vec![Past::default(); keys.len()];
        for (index, frame) in self.frames.iter().enumerate() {
            let ms = frame.at.as_millisecond();
            let mut processes = frame.processes.iter().peekable();
            let sums = self.sums.get(index);
            for (past, key) in pasts.iter_mut().zip(keys) {
                let bytes = match key {
                    RowKey::Image(image) => {
                        while processes.next_if(|it| it.image < *image).is_some() {}
                        let process = processes.next_if(|it| it.image == *image);
                        process.and_then(|it| it.rss.bytes())
                    }
                    RowKey::Group(name) => sums.and_then(|sums| sums.get(name)).copied(),
                };
                if let Some(bytes) = bytes {
                    past.add(ms, bytes);
                }
            }
        }
        pasts
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::amount::Amount;
    use crate::frame::{MachineMemory, ProcessFacts, ProcessMemory};

    /// A frame of processes, each with its image and its resident set in KiB.
    fn frame(second: i64, processes: &[(u64, u64)]) -> Arc<Frame> {
        let facts = Arc::new(ProcessFacts {
            pid: 1,
            ppid: None,
            user: String::new(),
            comm: String::new(),
            command: String::new(),
            role: "worker".to_owned(),
            cgroup: None,
            test: None,
        });
        let process = |&(image, kib): &(u64, u64)| ProcessMemory {
            image,
            facts: Arc::clone(&facts),
            rss: Amount::of(kib << 10),
            pss: Amount::UNKNOWN,
            uss: Amount::UNKNOWN,
            pss_age_s: 0,
            swap: Amount::UNKNOWN,
            peak: Amount::UNKNOWN,
        };
        Arc::new(Frame {
            at: Timestamp::from_second(second).unwrap(),
            processes: processes.iter().map(process).collect(),
            machine: MachineMemory::default(),
        })
    }

    #[test]
    fn many_rows_say_what_each_says_by_itself() {
        let frames = [
            frame(0, &[(1, 100), (2, 10), (7, 5)]),
            frame(20, &[(1, 300), (7, 6), (9, 1)]),
            frame(40, &[(1, 200), (2, 30), (9, 4)]),
        ];
        for (by, keys) in [
            (By::Process, [1, 2, 5, 9].map(RowKey::Image).to_vec()),
            (By::Role, ["nobody", "worker"].map(|name| RowKey::Group(name.into())).to_vec()),
        ] {
            let mut trail = Trail::default();
            trail.set(&frames, by);
            let keys: Vec<&RowKey> = keys.iter().collect();
            for (key, past) in keys.iter().zip(trail.pasts(&keys)) {
                let points = trail.points(key);
                let mut alone = Past::default();
                points.iter().for_each(|&(ms, bytes)| alone.add(ms, bytes));
                assert_eq!(past.largest, points.iter().map(|point| point.1).max(), "{key:?}");
                assert_eq!(past.growth.per_minute(), alone.growth.per_minute(), "{key:?}");
            }
        }
        let mut trail = Trail::default();
        trail.set(&frames, By::Process);
        let key = RowKey::Image(1);
        assert_eq!(trail.pasts(&[&key])[0].largest, Some(300 << 10));
        assert_eq!(trail.pasts(&[&key])[0].growth.per_minute(), Some(150 << 10));
    }
}
