//! The control groups that have a limit, and how near to it they came.

use std::collections::HashMap;
use std::io;

use arrow_array::RecordBatch;
use memsample::Recording;
use memsample::columns::{known, numbers, strings};

/// A control group with a limit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimit {
    /// Its path.
    pub cgroup: String,
    /// Its limit, in bytes: the smallest that it had.
    pub limit_bytes: u64,
    /// The most that was charged to it at a reading, in bytes, page cache included.
    pub largest_bytes: u64,
    /// Processes that the OOM killer killed in it meanwhile; `None` where the kernel does not tell.
    pub oom_kills: Option<u64>,
}

#[derive(Default)]
struct Group {
    limit: Option<u64>,
    largest: Option<u64>,
    oom_kills: Counter,
}

/// A counter of the kernel, from its first to its last reading.
#[derive(Default)]
struct Counter {
    first: Option<u64>,
    last: Option<u64>,
}

impl Counter {
    fn take(&mut self, value: Option<u64>) {
        self.first = self.first.or(value);
        self.last = value.or(self.last);
    }

    fn counted(&self) -> Option<u64> {
        Some(self.last?.saturating_sub(self.first?))
    }
}

/// Returns the groups of a recording that have a limit, the one nearest to it first.
///
/// # Errors
///
/// The table `cgroups` cannot be read.
pub fn group_limits(recording: &Recording) -> io::Result<Vec<GroupLimit>> {
    const COLUMNS: [&str; 4] =
        ["cgroup", "cgroup_current_bytes", "cgroup_limit_bytes", "cgroup_oom_kill"];
    let mut groups: HashMap<String, Group> = HashMap::new();
    for batch in recording.read_table("cgroups", &COLUMNS) {
        add(&mut groups, &batch?)?;
    }
    let mut limits: Vec<GroupLimit> = groups
        .into_iter()
        .filter_map(|(cgroup, group)| {
            Some(GroupLimit {
                cgroup,
                limit_bytes: group.limit?,
                largest_bytes: group.largest?,
                oom_kills: group.oom_kills.counted(),
            })
        })
        .collect();
    limits.sort_by(|a, b| {
        let share = |it: &GroupLimit| it.largest_bytes as f64 / it.limit_bytes.max(1) as f64;
        share(b).total_cmp(&share(a)).then_with(|| a.cgroup.cmp(&b.cgroup))
    });
    Ok(limits)
}

fn add(groups: &mut HashMap<String, Group>, batch: &RecordBatch) -> io::Result<()> {
    let names = strings(batch, "cgroup")?;
    let number = |name| numbers(batch, name).ok();
    let [current, limit] = ["cgroup_current_bytes", "cgroup_limit_bytes"].map(number);
    let oom_kill = number("cgroup_oom_kill");
    // Older recordings lack some of these.
    let known = |column: Option<&_>, row| column.and_then(|column| known(column, row));
    for row in 0..batch.num_rows() {
        let name = names.value(row);
        if !groups.contains_key(name) {
            groups.insert(name.to_owned(), Group::default());
        }
        let Some(group) = groups.get_mut(name) else { continue };
        if let Some(limit) = known(limit, row) {
            group.limit = Some(group.limit.map_or(limit, |before| before.min(limit)));
        }
        group.largest = group.largest.max(known(current, row));
        group.oom_kills.take(known(oom_kill, row));
    }
    Ok(())
}
