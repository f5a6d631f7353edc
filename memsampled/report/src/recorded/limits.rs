//! The control groups that have a limit, and how near to it they came.

use std::collections::HashMap;
use std::io;

use arrow_array::RecordBatch;
use arrow_array::types::TimestampMillisecondType as Millisecond;
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
    /// When, in milliseconds since 1970.
    pub largest_ms: i64,
    /// How often it was about to go above its limit meanwhile; `None` where the kernel does not tell.
    pub max_events: Option<u64>,
    /// Processes that the OOM killer killed in it meanwhile; likewise.
    pub oom_kills: Option<u64>,
}

#[derive(Default)]
struct Group {
    limit: Option<u64>,
    largest: Option<(u64, i64)>,
    max_events: Counter,
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
    const COLUMNS: [&str; 6] = [
        "ts",
        "cgroup",
        "cgroup_current_bytes",
        "cgroup_limit_bytes",
        "cgroup_max_events",
        "cgroup_oom_kill",
    ];
    let mut groups: HashMap<String, Group> = HashMap::new();
    for batch in recording.read_table("cgroups", &COLUMNS) {
        add(&mut groups, &batch?)?;
    }
    let mut limits: Vec<GroupLimit> = groups
        .into_iter()
        .filter_map(|(cgroup, group)| {
            let (largest_bytes, largest_ms) = group.largest?;
            Some(GroupLimit {
                cgroup,
                limit_bytes: group.limit?,
                largest_bytes,
                largest_ms,
                max_events: group.max_events.counted(),
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
    let (ts, names) = (numbers::<Millisecond>(batch, "ts")?, strings(batch, "cgroup")?);
    let number = |name| numbers(batch, name).ok();
    let [current, limit] = ["cgroup_current_bytes", "cgroup_limit_bytes"].map(number);
    let [max_events, oom_kill] = ["cgroup_max_events", "cgroup_oom_kill"].map(number);
    // Older recordings lack some of these.
    let known = |column: Option<&_>, row| column.and_then(|column| known(column, row));
    for (row, &ts_ms) in ts.values().iter().enumerate() {
        let name = names.value(row);
        if !groups.contains_key(name) {
            groups.insert(name.to_owned(), Group::default());
        }
        let Some(group) = groups.get_mut(name) else { continue };
        if let Some(limit) = known(limit, row) {
            group.limit = Some(group.limit.map_or(limit, |before| before.min(limit)));
        }
        if let Some(bytes) = known(current, row)
            && group.largest.is_none_or(|(largest, _)| bytes > largest)
        {
            group.largest = Some((bytes, ts_ms));
        }
        group.max_events.take(known(max_events, row));
        group.oom_kills.take(known(oom_kill, row));
    }
    Ok(())
}
