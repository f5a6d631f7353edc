//! The largest sum of upper bounds of process images that may have lived at the same time.

use std::cmp::Reverse;

use super::bound::{Bound, Source};

/// The largest sum of upper bounds of images that may have lived at the same time.
#[derive(Debug, Default)]
pub(super) struct UpperSum {
    /// The instants at which members may have begun and ended, in nanoseconds since boot, and by how many
    /// bytes each changes the sum.
    changes: Vec<(u64, i128)>,
    unbounded: u64,
    /// Whether there may be members that are not known.
    lacks_members: bool,
}

impl UpperSum {
    /// Adds an image that may have lived in this span of time.
    pub(super) fn add(&mut self, (begin_ns, end_ns): (u64, u64), upper: Option<Bound>) {
        match upper {
            Some(upper) => {
                self.changes.push((begin_ns, i128::from(upper.bytes)));
                self.changes.push((end_ns, -i128::from(upper.bytes)));
            }
            None => self.unbounded += 1,
        }
    }

    /// Adds images of which nothing is known.
    pub(super) fn add_unseen(&mut self, images: u64) {
        self.unbounded = self.unbounded.saturating_add(images);
    }

    /// Notes that there may be members that are not known.
    pub(super) fn lack_members(&mut self) {
        self.lacks_members = true;
    }

    /// Returns the number of images without an upper bound.
    pub(super) fn unbounded(&self) -> u64 {
        self.unbounded
    }

    /// Returns the bound, which is not below `lower_bytes`; `None` where a member has none.
    pub(super) fn largest(mut self, lower_bytes: u64) -> Option<Bound> {
        if self.unbounded > 0 || self.lacks_members {
            return None;
        }
        // At the same instant, those that begin come first.
        self.changes.sort_unstable_by_key(|&(at_ns, change)| (at_ns, Reverse(change)));
        let mut sum = 0_i128;
        let sums = self.changes.iter().map(|(_, change)| {
            sum += change;
            sum
        });
        let bytes = u64::try_from(sums.max().unwrap_or(0)).unwrap_or(u64::MAX);
        Some(Bound { bytes: bytes.max(lower_bytes), source: Source::SumOfMembers })
    }
}
