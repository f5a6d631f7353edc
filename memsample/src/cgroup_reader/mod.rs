//! Reads the memory of control groups: those that sampled processes are in, and their ancestors.
//!
//! The ancestors are read because they have the limits: the group of a container or of a systemd unit often
//! has no limit of its own, and the limit of its parent applies.
//!
//! A group is read until it is removed, even after its last process exited: its counters say what killed the
//! process.

mod descriptors;
mod group;
mod open;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::counts::CgroupCounts;
use crate::proc::ReadBuffer;
use crate::schema::cgroups::CgroupSample;
use crate::scope::levels_up;
use descriptors::GroupDescriptors;
use group::{Group, GroupReading};
pub(crate) use open::OpenHierarchies;
use open::OpenHierarchy;

/// Groups that are followed, at most. One costs about 30 us each time, so that many cost a
/// thirtieth of a CPU at once a second; a host has a few hundred.
const MAX_GROUPS: usize = 1024;
/// The path of the highest group above a control group namespace that is read. A container is three or four levels deep.
const UP: &[u8] = b"/../../../../../../../..";
const MAX_LEVELS: usize = UP.len() / 3;

/// Reads control groups, through kept descriptors as far as they go.
pub(crate) struct CgroupReader {
    hierarchies: OpenHierarchies,
    clock: Arc<dyn Clock>,
    /// By path, so that a group comes after those above it.
    groups: BTreeMap<Arc<[u8]>, Group>,
    descriptors: GroupDescriptors,
    buffer: ReadBuffer,
    /// Memory for the path of a file.
    path: Vec<u8>,
}

impl CgroupReader {
    pub(crate) fn new(hierarchies: OpenHierarchies, clock: Arc<dyn Clock>) -> Self {
        Self {
            hierarchies,
            clock,
            groups: BTreeMap::new(),
            descriptors: GroupDescriptors::within_limit(),
            buffer: ReadBuffer::new(),
            path: Vec::new(),
        }
    }

    /// Describes what cannot be seen, for the reader of the recording.
    pub(crate) fn note(&self) -> Option<String> {
        self.hierarchies.note()
    }

    /// Describes that the group of this program cannot be read, if so.
    pub(crate) fn own_group_note(&self) -> Option<String> {
        self.hierarchies.own_group_note()
    }

    /// Reads the groups at `paths`, one for each process, and those above; appends a row for each.
    ///
    /// Allocates only for groups that are new.
    pub(crate) fn read<'a>(
        &mut self,
        ts_ms: i64,
        paths: impl Iterator<Item = &'a [u8]>,
        rows: &mut Vec<CgroupSample>,
    ) -> CgroupCounts {
        let before_ns = self.clock.thread_cpu_ns();
        let mut counts = CgroupCounts::default();
        self.groups.values_mut().for_each(|group| group.processes = 0);
        for path in paths {
            if let Some(group) = self.groups.get_mut(path) {
                group.processes += 1;
            } else if self.follow(path) {
                if let Some(group) = self.groups.get_mut(path) {
                    group.processes = 1;
                }
            } else {
                counts.unreadable += 1;
            }
        }
        let first = rows.len();
        let levels = self.levels();
        let Self { hierarchies, groups, descriptors, buffer, path, .. } = self;
        groups.retain(|name, group| {
            let mut row = CgroupSample::new(ts_ms, Arc::clone(name), group.processes);
            match group.read(name, hierarchies, descriptors, buffer, path, &mut row) {
                GroupReading::Whole => {}
                GroupReading::InPart => counts.unreadable += 1,
                GroupReading::Gone => {
                    descriptors.kept -= group.descriptors();
                    // One that never was there to be read: a path that cannot be seen from here.
                    match group.was_read {
                        true => counts.gone += 1,
                        false => counts.unreadable += u32::from(group.processes > 0),
                    }
                    return false;
                }
            }
            group.was_read = true;
            counts.read += 1;
            rows.push(row);
            true
        });
        inherit_limits(rows.get_mut(first..).unwrap_or_default(), levels);
        let cost_ns = self.clock.thread_cpu_ns().saturating_sub(before_ns);
        counts.cost_us = u32::try_from(cost_ns / 1000).unwrap_or(u32::MAX);
        counts
    }

    /// Begins to follow the group at `path` and those above, and says whether there was room.
    fn follow(&mut self, path: &[u8]) -> bool {
        let levels = self.levels();
        for path in above(path, levels).chain([path]) {
            if self.groups.contains_key(path) {
                continue;
            }
            if self.groups.len() >= MAX_GROUPS && !self.make_room() {
                return false;
            }
            self.groups.insert(path.into(), Group::default());
        }
        true
    }

    /// Returns how many levels above the root of the control group namespace can be read.
    fn levels(&self) -> usize {
        let memory = self.hierarchies.memory.as_ref();
        memory.map_or(0, OpenHierarchy::levels_above_namespace)
    }

    /// Lets a group go that has no process, and none below it.
    fn make_room(&mut self) -> bool {
        let idle = |(path, group): (&Arc<[u8]>, &Group)| {
            let below = self.groups.range(Arc::clone(path)..).nth(1);
            let has_below = below.is_some_and(|(other, _)| above(other, 0).any(|it| it == &**path))
                // The root of the namespace is below it, and has this program.
                || levels_up(path) == (levels_up(path).0.max(1), &b""[..]);
            (group.processes == 0 && !has_below).then(|| Arc::clone(path))
        };
        let Some(path) = self.groups.iter().find_map(idle) else {
            return false;
        };
        if let Some(group) = self.groups.remove(&path) {
            self.descriptors.kept -= group.descriptors();
        }
        true
    }
}

/// Iterates over the paths above a group, from the root on; none for the root itself. `levels` above the root of the control
/// group namespace come first.
fn above(path: &[u8], levels: usize) -> impl Iterator<Item = &[u8]> {
    let (up, _) = levels_up(path);
    let outside = (up + 1..=levels.min(MAX_LEVELS)).rev().filter_map(|level| UP.get(..3 * level));
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let inside = slashes.filter(move |&at| path.len() > 1 && at >= 3 * up);
    outside.chain(inside.filter_map(|at| path.get(..at.max(1))))
}

/// Gives each row the smallest of its limit and those of the groups above. The rows are in the order of their paths.
fn inherit_limits(rows: &mut [CgroupSample], levels: usize) {
    for index in 0..rows.len() {
        let Some(path) = rows.get(index).map(|row| Arc::clone(&row.cgroup)) else { return };
        let known = &*rows;
        let inherited = above(&path, levels)
            .filter_map(|path| known.binary_search_by(|row| (*row.cgroup).cmp(path)).ok())
            .filter_map(|at| known.get(at))
            .flat_map(|row| [row.effective_limit_bytes, row.limit_bytes])
            .flatten()
            .min();
        if let Some(row) = rows.get_mut(index) {
            row.effective_limit_bytes =
                [row.effective_limit_bytes, row.limit_bytes, inherited].into_iter().flatten().min();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_above_come_first() {
        let paths = |path: &'static str| -> Vec<_> {
            above(path.as_bytes(), 0).map(|path| std::str::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(paths("/a/b/c"), ["/", "/a", "/a/b"]);
        assert_eq!(paths("/a"), ["/"]);
        assert!(paths("/").is_empty() && paths("").is_empty());
    }

    #[test]
    fn the_groups_above_a_namespace_are_above_those_in_it() {
        let paths = |path: &'static str| -> Vec<_> {
            above(path.as_bytes(), 2).map(|path| std::str::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(paths("/a/b"), ["/../..", "/..", "/", "/a"]);
        assert_eq!(paths("/"), ["/../..", "/.."]);
        assert_eq!(paths("/../x/y"), ["/../..", "/..", "/../x"]);
        assert_eq!(paths("/.."), ["/../.."]);
        assert!(paths("/../..").is_empty());
        let row = |path: &[u8], limit_bytes| CgroupSample {
            limit_bytes,
            ..CgroupSample::new(0, path.into(), 1)
        };
        let mut rows = [
            row(b"/", None),
            row(b"/..", Some(90)),
            row(b"/../..", None),
            row(b"/../x", Some(100)),
            row(b"/a", Some(70)),
        ];
        inherit_limits(&mut rows, 2);
        let limits: Vec<_> = rows.iter().map(|row| row.effective_limit_bytes).collect();
        assert_eq!(limits, [Some(90), Some(90), None, Some(90), Some(70)]);
    }

    #[test]
    fn a_limit_holds_for_all_below() {
        let row = |path: &[u8], limit_bytes| CgroupSample {
            limit_bytes,
            ..CgroupSample::new(0, path.into(), 1)
        };
        let mut rows = [
            row(b"/", None),
            row(b"/a", Some(100)),
            row(b"/a/b", None),
            row(b"/a/b/c", Some(70)),
            row(b"/a/d", Some(300)),
            row(b"/ab", None),
        ];
        inherit_limits(&mut rows, 0);
        let limits: Vec<_> = rows.iter().map(|row| row.effective_limit_bytes).collect();
        assert_eq!(limits, [None, Some(100), Some(100), Some(70), Some(100), None]);
    }
}
