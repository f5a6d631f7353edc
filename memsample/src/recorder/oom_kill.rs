//! What is known of kills of the OOM killer: how many were counted, who ended by its signal, what a caller says.

use std::sync::Arc;

use crate::identity::{Comm, ProcessId, text};
use crate::schema::exits::Exit;
use crate::scope::is_within;

/// What a caller knows of kills: the runner reads the group of a test when the test has ended, and removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OomReason {
    /// The test whose processes were killed.
    pub(super) test: String,
    /// How many of them.
    pub(super) kills: u64,
    /// The limit of the test, if that was reached.
    pub(super) limit_bytes: Option<u64>,
}

impl OomReason {
    pub(super) fn text(&self) -> String {
        match self.limit_bytes {
            Some(bytes) => {
                format!("the memory limit of its test, {} MiB, was reached", bytes >> 20)
            }
            None => "the machine, or a control group above that of its test, was out of memory"
                .to_owned(),
        }
    }
}

/// An exit by signal 9.
pub(super) struct KilledExit {
    pub(super) ts_ms: i64,
    pub(super) process: ProcessId,
    pub(super) test: Option<Arc<str>>,
    pub(super) pid: i32,
    pub(super) comm: Comm,
    pub(super) hwm_bytes: u64,
    pub(super) cgroup: Option<Vec<u8>>,
}

/// Kills that were counted between two readings.
pub(super) struct Kill {
    pub(super) after_ms: i64,
    pub(super) read_ms: i64,
    pub(super) count: u64,
    /// The control groups that count more, the innermost last, and by how much.
    pub(super) groups: Vec<(Arc<[u8]>, u64)>,
    /// Control groups whose kills are others than these.
    pub(super) others: Vec<Arc<[u8]>>,
}

impl Kill {
    /// Returns the groups that count more and have none below them that does.
    fn innermost(&self) -> impl Iterator<Item = &(Arc<[u8]>, u64)> {
        self.groups.iter().filter(|(group, _)| {
            !self.groups.iter().any(|(other, _)| other != group && is_within(other, group))
        })
    }

    /// Returns whether fewer were counted in control groups than in all.
    pub(super) fn lacks_groups(&self) -> bool {
        self.innermost().map(|(_, count)| count).sum::<u64>() < self.count
    }

    /// Adds what groups count more that were read after the machine.
    pub(super) fn add_groups(&mut self, more: &[(Arc<[u8]>, u64)]) {
        for (group, count) in more {
            match self.groups.iter_mut().find(|(known, _)| known == group) {
                Some((_, known)) => *known += count,
                None => self.groups.push((Arc::clone(group), *count)),
            }
        }
        self.groups.sort_by_key(|(group, _)| group.len());
    }

    /// Returns so many of them by the group that counts them, and those that no group counts last.
    pub(super) fn by_group(&self, count: u64) -> Vec<Self> {
        let part = |count: u64, groups: Vec<(Arc<[u8]>, u64)>, others: Vec<Arc<[u8]>>| Self {
            after_ms: self.after_ms,
            read_ms: self.read_ms,
            count,
            groups,
            others,
        };
        let innermost: Vec<_> = self.innermost().cloned().collect();
        let in_groups: u64 = innermost.iter().map(|(_, count)| count).sum();
        if in_groups > count {
            // Which of them were told, or were counted by the machine before, is not known.
            return vec![part(count, innermost, Vec::new())];
        }
        // A group counts those of the groups below it too, where there is one hierarchy.
        let above = self.groups.iter().filter(|(group, count)| {
            let below = innermost.iter().filter(|(other, _)| is_within(other, group));
            *count > below.map(|(_, count)| count).sum()
        });
        let above: Vec<_> = above.cloned().collect();
        let others = innermost.iter().map(|(group, _)| Arc::clone(group)).collect();
        let mut parts: Vec<Self> =
            innermost.into_iter().map(|group| part(group.1, vec![group], Vec::new())).collect();
        if count > in_groups {
            parts.push(part(count - in_groups, above, others));
        }
        parts
    }

    /// Returns why, as far as the counters say. `own` is the group of the process, if one is meant.
    pub(super) fn why(&self, own: Option<&[u8]>) -> String {
        // The counter of the machine counts those for the limit of a group too.
        let innermost: Vec<&Arc<[u8]>> = self.innermost().map(|(group, _)| group).collect();
        let of_own = own.and_then(|own| innermost.iter().find(|group| is_within(own, group)));
        match (of_own, innermost.as_slice(), own) {
            (Some(group), ..) | (None, [group], _) => {
                format!("the control group `{}` was at its limit", text(group))
            }
            (None, [], Some(own)) => format!(
                "the machine was out of memory, or its control group `{}`, which was not read in time",
                text(own)
            ),
            (None, [], None) => {
                "the machine, or a control group that was not read, was out of memory".to_owned()
            }
            (None, groups, _) => {
                let names: Vec<String> =
                    groups.iter().map(|group| format!("`{}`", text(group))).collect();
                format!("one of the control groups {} was at its limit", names.join(", "))
            }
        }
    }

    /// Returns whether a process was in none of the groups whose kills are others, as far as its own is known.
    pub(super) fn is_not_elsewhere(&self, end: &KilledExit) -> bool {
        let Some(path) = &end.cgroup else { return true };
        !self.others.iter().any(|group| is_within(path, group))
    }

    /// Returns whether a process was in a group that counts more, as far as both are known.
    pub(super) fn may_be(&self, end: &KilledExit) -> bool {
        let Some(path) = &end.cgroup else { return true };
        self.groups.is_empty() || self.innermost().any(|(group, _)| is_within(path, group))
    }
}

impl KilledExit {
    pub(super) fn name(&self) -> String {
        let named = format!("{} ({})", self.comm, self.pid);
        match self.hwm_bytes {
            // The kernel had taken its memory before it made the record, and noted no peak.
            0 => named,
            bytes => format!("{named} of {} MiB", bytes >> 20),
        }
    }

    pub(super) fn of(exit: &Exit) -> Self {
        let Exit { ts_ms, process, test, pid, comm, hwm_bytes, killed_in, .. } = exit;
        Self {
            ts_ms: *ts_ms,
            process: *process,
            test: test.clone(),
            pid: *pid,
            comm: *comm,
            hwm_bytes: *hwm_bytes,
            cgroup: killed_in.clone(),
        }
    }
}
