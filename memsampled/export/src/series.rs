//! Sums of memory of roles or processes, tick by tick.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem;

use memsample::Recording;
use memsample::analysis::{
    MemorySums, largest_processes, recording_roles, role_peaks, sums_over_time, tick_instants,
};

/// Groups, at most.
pub const MAX_GROUPS: usize = 1000;

/// What the samples are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// All processes that do the same.
    Role,
    /// Each process image.
    Process,
}

/// A group of process images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they do.
    pub role: String,
    /// The image, where each is a group of its own.
    pub process: Option<GroupProcess>,
}

/// A process image that is a group of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProcess {
    /// Its key in `processes`.
    pub process: u64,
    /// Its process id.
    pub pid: i32,
    /// Its last known command name.
    pub comm: String,
}

/// The groups of a recording, and which image is of which.
#[derive(Clone, Debug)]
pub struct Groups {
    /// What they were made by.
    pub by: By,
    /// The groups, the largest peak of resident sets first. That at `index` has the number `index` + 1: 0 is all
    /// recorded processes together.
    pub groups: Vec<Group>,
    /// Groups that were left out since they are not of the largest. The sum of all has them.
    pub left_out: usize,
    /// Ticks at which samples were read and not written: their sums would be too small, so they are left out.
    pub ticks_left_out: BTreeSet<i64>,
    groups_of: HashMap<u64, Vec<usize>>,
}

/// The memory of a group at a tick. Where the last process of a group has ended, there is one more with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) ts_ms: i64,
    pub(crate) group: usize,
    pub(crate) sums: MemorySums,
}

impl Groups {
    /// Returns the `top` largest groups of a recording.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub fn of(recording: &Recording, by: By, top: usize) -> io::Result<Self> {
        let top = top.min(MAX_GROUPS);
        let roles = recording_roles(recording)?;
        let mut groups_of: HashMap<u64, Vec<usize>> =
            roles.values().flatten().map(|&process| (process, vec![0])).collect();
        let mut groups = Vec::new();
        let mut add = |group: Group, images: &[u64]| {
            groups.push(group);
            for image in images {
                groups_of.entry(*image).or_default().push(groups.len());
            }
        };
        let all = match by {
            By::Role => {
                for peak in role_peaks(recording, top, |_| true)? {
                    let images = roles.get(&peak.role).map_or(&[][..], Vec::as_slice);
                    add(Group { role: peak.role, process: None }, images);
                }
                roles.len()
            }
            By::Process => {
                for largest in largest_processes(recording, top)? {
                    let process = largest.process.0;
                    let (pid, comm) = (largest.pid, largest.comm);
                    let own = GroupProcess { process, pid, comm };
                    add(Group { role: largest.role, process: Some(own) }, &[process]);
                }
                roles.values().map(Vec::len).sum()
            }
        };
        let left_out = all.saturating_sub(groups.len());
        let with_losses = tick_instants(recording)?.into_iter().filter(|tick| tick.dropped > 0);
        let ticks_left_out = with_losses.map(|tick| tick.ts_ms).collect();
        Ok(Self { by, groups, left_out, ticks_left_out, groups_of })
    }

    /// Returns a group by its number; `None` of all processes together.
    pub(crate) fn get(&self, number: usize) -> Option<&Group> {
        self.groups.get(number.checked_sub(1)?)
    }

    /// Passes on the points of all groups, in the order of time.
    pub(crate) fn for_each_point(
        &self,
        recording: &Recording,
        visit: impl FnMut(Point) -> io::Result<()>,
    ) -> io::Result<()> {
        for_each_point(recording, &self.groups_of, &self.ticks_left_out, visit)
    }

    /// The same of the groups whose numbers are in a range.
    pub(crate) fn for_each_point_of(
        &self,
        numbers: std::ops::Range<usize>,
        recording: &Recording,
        visit: impl FnMut(Point) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut wanted = self.groups_of.clone();
        wanted.retain(|_, groups| {
            groups.retain(|group| numbers.contains(group));
            !groups.is_empty()
        });
        for_each_point(recording, &wanted, &self.ticks_left_out, visit)
    }
}

fn for_each_point(
    recording: &Recording,
    groups_of: &HashMap<u64, Vec<usize>>,
    left_out: &BTreeSet<i64>,
    visit: impl FnMut(Point) -> io::Result<()>,
) -> io::Result<()> {
    let mut ticks = Ticks { visit, now: Vec::new(), now_ms: i64::MIN, before: Vec::new() };
    let mut outcome = Ok(());
    sums_over_time(recording, groups_of, |it| {
        if outcome.is_ok() && !left_out.contains(&it.ts_ms) {
            outcome = ticks.add(Point { ts_ms: it.ts_ms, group: it.group, sums: it.sums });
        }
    })?;
    outcome.and_then(|()| ticks.flush())
}

/// The points of one tick, and which groups had one at the tick before.
struct Ticks<V> {
    visit: V,
    now: Vec<Point>,
    now_ms: i64,
    before: Vec<usize>,
}

impl<V: FnMut(Point) -> io::Result<()>> Ticks<V> {
    fn add(&mut self, point: Point) -> io::Result<()> {
        if point.ts_ms != self.now_ms {
            self.flush()?;
            self.now_ms = point.ts_ms;
        }
        self.now.push(point);
        Ok(())
    }

    /// Passes the points of a tick on, with a zero for each group that had a process at the tick before and has none.
    fn flush(&mut self) -> io::Result<()> {
        let groups: Vec<usize> = self.now.iter().map(|point| point.group).collect();
        for group in mem::take(&mut self.before) {
            if groups.binary_search(&group).is_err() && !self.now.is_empty() {
                let sums = MemorySums::default();
                self.now.push(Point { ts_ms: self.now_ms, group, sums });
            }
        }
        self.before = groups;
        self.now.sort_unstable_by_key(|point| point.group);
        self.now.drain(..).try_for_each(&mut self.visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_process_is_zero_once() {
        let mut seen = Vec::new();
        let visit = |point: Point| {
            seen.push((point.ts_ms, point.group, point.sums.rss_bytes));
            Ok(())
        };
        let mut ticks = Ticks { visit, now: Vec::new(), now_ms: i64::MIN, before: Vec::new() };
        let sums = |rss_bytes| MemorySums { rss_bytes, ..MemorySums::default() };
        for (ts_ms, group, bytes) in [(1, 0, 9), (1, 1, 4), (2, 0, 5), (3, 0, 6), (3, 1, 1)] {
            ticks.add(Point { ts_ms, group, sums: sums(bytes) }).unwrap();
        }
        ticks.flush().unwrap();
        ticks.flush().unwrap();
        let expected = [(1, 0, 9), (1, 1, 4), (2, 0, 5), (2, 1, 0), (3, 0, 6), (3, 1, 1)];
        assert_eq!(seen, expected);
    }
}
