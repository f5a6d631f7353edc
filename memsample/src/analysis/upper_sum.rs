//! The largest sum of upper bounds of process images that may have lived at the same time.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::bound::{Bound, Source};

/// Images of one holder whose bounds are combined exactly. Of more the largest counts for all their time.
const MAX_IMAGES: usize = 64;

/// The largest sum of upper bounds of images that may have lived at the same time.
#[derive(Debug, Default)]
pub(super) struct UpperSum {
    /// The images that have their memory one after the other, or together.
    holders: HashMap<MemoryHolder, Vec<BoundedLife>>,
    unbounded: u64,
    /// Whether there may be members that are not known.
    lacks_members: bool,
}

/// Who has memory: of the images of one holder the largest counts, at each instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MemoryHolder {
    /// A process, by pid and start: it has one image at a time.
    Process((i32, u64)),
    /// Several processes that share a memory map, by its number: each shows all of it.
    Map(u64),
}

/// The instants at which an image may have begun and ended, in nanoseconds since boot, and what it had at most.
#[derive(Clone, Copy, Debug)]
struct BoundedLife {
    begin_ns: u64,
    end_ns: u64,
    bytes: u64,
}

impl UpperSum {
    /// Adds an image that may have lived in this span of time.
    pub(super) fn add(
        &mut self,
        holder: MemoryHolder,
        (begin_ns, end_ns): (u64, u64),
        upper: Option<Bound>,
    ) {
        match upper {
            Some(Bound { bytes, .. }) => {
                let life = BoundedLife { begin_ns, end_ns: end_ns.max(begin_ns), bytes };
                self.holders.entry(holder).or_default().push(life);
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
    pub(super) fn largest(self, lower_bytes: u64) -> Option<Bound> {
        if self.unbounded > 0 || self.lacks_members {
            return None;
        }
        let mut changes = Vec::new();
        self.holders.into_values().for_each(|lives| add_changes(lives, &mut changes));
        // At the same instant, what is added comes first.
        changes.sort_unstable_by_key(|&(at_ns, change)| (at_ns, Reverse(change)));
        let mut sum = 0_i128;
        let sums = changes.iter().map(|(_, change)| {
            sum += change;
            sum
        });
        let bytes = u64::try_from(sums.max().unwrap_or(0)).unwrap_or(u64::MAX);
        Some(Bound { bytes: bytes.max(lower_bytes), source: Source::SumOfMembers })
    }
}

/// Adds by how many bytes a holder changes the sum, and when. Where several images of it may have lived, the largest
/// counts.
fn add_changes(mut lives: Vec<BoundedLife>, changes: &mut Vec<(u64, i128)>) {
    if lives.len() > MAX_IMAGES {
        let whole = lives.into_iter().reduce(|one, other| BoundedLife {
            begin_ns: one.begin_ns.min(other.begin_ns),
            end_ns: one.end_ns.max(other.end_ns),
            bytes: one.bytes.max(other.bytes),
        });
        lives = whole.into_iter().collect();
    }
    let mut instants: Vec<u64> =
        lives.iter().flat_map(|life| [life.begin_ns, life.end_ns]).collect();
    instants.sort_unstable();
    instants.dedup();
    // The largest of those that live from one instant to the other, both included.
    let largest = |from_ns, until_ns| {
        let living =
            lives.iter().filter(|life| life.begin_ns <= from_ns && life.end_ns >= until_ns);
        living.map(|life| i128::from(life.bytes)).max().unwrap_or(0)
    };
    let mut before = 0;
    for (index, &at_ns) in instants.iter().enumerate() {
        let at = largest(at_ns, at_ns);
        let after = instants.get(index + 1).map_or(0, |&next_ns| largest(at_ns, next_ns));
        changes.push((at_ns, at - before));
        changes.push((at_ns, after - at));
        before = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the largest sum of images: pid, begin, end and bound.
    fn largest(images: &[(i32, u64, u64, u64)]) -> Option<u64> {
        let mut sum = UpperSum::default();
        for &(pid, begin_ns, end_ns, bytes) in images {
            let upper = Some(Bound { bytes, source: Source::ExitRecord });
            sum.add(MemoryHolder::Process((pid, 0)), (begin_ns, end_ns), upper);
        }
        sum.largest(0).map(|bound| bound.bytes)
    }

    #[test]
    fn images_of_different_processes_add_up_while_both_may_live() {
        assert_eq!(largest(&[(1, 0, 10, 100), (2, 5, 20, 50)]), Some(150));
        assert_eq!(largest(&[(1, 0, 10, 100), (2, 10, 20, 50)]), Some(150));
        assert_eq!(largest(&[(1, 0, 10, 100), (2, 11, 20, 50)]), Some(100));
        // For an instant.
        assert_eq!(largest(&[(1, 0, 10, 100), (2, 5, 5, 50)]), Some(150));
    }

    #[test]
    fn of_the_images_of_one_process_the_largest_counts() {
        assert_eq!(largest(&[(1, 0, 10, 100), (1, 5, 20, 50)]), Some(100));
        assert_eq!(largest(&[(1, 0, 10, 100), (1, 5, 20, 50), (2, 8, 9, 7)]), Some(107));
        assert_eq!(largest(&[(1, 0, 10, 100), (1, 5, 20, 50), (2, 11, 12, 7)]), Some(100));
        assert_eq!(largest(&[(1, 0, 10, 10), (1, 5, 20, 50), (2, 11, 12, 7)]), Some(57));
        assert_eq!(largest(&[(1, 0, 10, 10), (1, 10, 20, 50), (1, 15, 15, 60)]), Some(60));
        let many: Vec<_> = (0..200).map(|at| (1, at, at + 1, at + 1)).collect();
        assert_eq!(largest(&many), Some(200));
    }

    #[test]
    fn a_single_image_without_bound_leaves_the_sum_without_one() {
        let mut sum = UpperSum::default();
        sum.add(MemoryHolder::Map(1), (0, 10), None);
        assert_eq!((sum.unbounded(), sum.largest(5)), (1, None));
    }
}
