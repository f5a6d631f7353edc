//! Which processes descend from which, by the table of processes.

use std::collections::HashMap;
use std::io;

use crate::recording::Recording;
use crate::units::START_STEP_NS;

/// Maximum number of generations between a process and the root of a tree.
const MAX_DEPTH: usize = 4096;

/// A process that is the root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Root(usize);

/// Every process of a recording and its parent.
#[derive(Default)]
pub(super) struct ProcessTrees {
    processes: Vec<Process>,
    /// The processes that had a pid, in the order of their start.
    of_pid: HashMap<i32, Vec<usize>>,
    /// The process of each image.
    of_image: HashMap<u64, usize>,
}

#[derive(Clone, Copy)]
struct Process {
    start_ns: u64,
    ppid: i32,
}

impl ProcessTrees {
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let mut trees = Self::default();
        let mut known: HashMap<(i32, u64), usize> = HashMap::new();
        recording.for_each_image(|row| {
            let process = *known.entry((row.pid, row.start_ns)).or_insert_with(|| {
                trees.processes.push(Process { start_ns: row.start_ns, ppid: row.ppid });
                let index = trees.processes.len() - 1;
                trees.of_pid.entry(row.pid).or_default().push(index);
                index
            });
            trees.of_image.insert(row.process, process);
        })?;
        let processes = &trees.processes;
        for of_pid in trees.of_pid.values_mut() {
            of_pid.sort_unstable_by_key(|&index| {
                processes.get(index).map_or(0, |process| process.start_ns)
            });
        }
        Ok(trees)
    }

    /// Returns the process that had a pid at an instant; `None` if it is not in the recording.
    pub(super) fn process_at(&self, pid: i32, boot_ns: u64) -> Option<Root> {
        self.last_before(pid, boot_ns).map(Root)
    }

    /// Returns the last process with a pid that had started at an instant. A start is rounded down to clock
    /// ticks, and that of a process which was never sampled may be as much later.
    fn last_before(&self, pid: i32, boot_ns: u64) -> Option<usize> {
        let of_pid = self.of_pid.get(&pid)?;
        let before = of_pid.partition_point(|&index| {
            let start_ns = self.processes.get(index).map_or(0, |process| process.start_ns);
            start_ns <= boot_ns.saturating_add(START_STEP_NS)
        });
        of_pid.get(before.checked_sub(1)?).copied()
    }

    /// Returns, for each image that is in one of the trees, those in which it is, as indices into `roots`.
    pub(super) fn members(&self, roots: &[Root]) -> HashMap<u64, Vec<usize>> {
        let places: HashMap<usize, usize> =
            roots.iter().enumerate().map(|(place, root)| (root.0, place)).collect();
        let mut members = HashMap::new();
        for (&image, &process) in &self.of_image {
            let mut inside = Vec::new();
            let mut next = Some(process);
            for _ in 0..MAX_DEPTH {
                let Some(process) = next else { break };
                if let Some(&place) = places.get(&process) {
                    inside.push(place);
                }
                next = self.parent(process);
            }
            if !inside.is_empty() {
                members.insert(image, inside);
            }
        }
        members
    }

    fn parent(&self, process: usize) -> Option<usize> {
        let Process { start_ns, ppid } = *self.processes.get(process)?;
        // Itself, or younger than its child: the parent is none of the recording.
        let parent = self.last_before(ppid, start_ns)?;
        (parent != process).then_some(parent)
    }
}
