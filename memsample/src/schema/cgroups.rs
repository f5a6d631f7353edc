//! The table `cgroups`: a control group at one tick.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::table::Table;
use crate::cgroups::Version;
use crate::identity::text;
use crate::parse::{CgroupEvents, CgroupStat, Pressure};

/// A control group at one tick. What this kernel does not have, or refuses, is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupSample {
    pub(crate) ts_ms: i64,
    pub(crate) cgroup: Arc<[u8]>,
    pub(crate) version: Option<Version>,
    pub(crate) processes: u32,
    pub(crate) stat: CgroupStat,
    pub(crate) current_bytes: Option<u64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) effective_limit_bytes: Option<u64>,
    pub(crate) events: CgroupEvents,
    pub(crate) pressure: Option<Pressure>,
}

impl CgroupSample {
    /// Returns a row of which nothing is known yet.
    pub(crate) fn new(ts_ms: i64, cgroup: Arc<[u8]>, processes: u32) -> Self {
        Self {
            ts_ms,
            cgroup,
            version: None,
            processes,
            stat: CgroupStat::default(),
            current_bytes: None,
            peak_bytes: None,
            limit_bytes: None,
            effective_limit_bytes: None,
            events: CgroupEvents::default(),
            pressure: None,
        }
    }
}

pub(crate) fn table() -> Table {
    FIELDS.table(
        "cgroups",
        "a control group at one tick, by default once a second: each that a sampled process is or was in, and those above it",
        &["ts", "cgroup"],
    )
}

macro_rules! optional {
    ($name:literal, $source:literal, $value:expr, $meaning:literal) => {
        Field {
            name: $name,
            source: $source,
            meaning: $meaning,
            value: Value::OptionalInt64($value),
        }
    };
}

pub(crate) const FIELDS: Fields<CgroupSample> = Fields(&[
    Field {
        name: "ts",
        source: "recorder",
        meaning: "The planned instant of the tick, as in `samples`.",
        value: Value::Timestamp(|row| row.ts_ms),
    },
    Field {
        name: "cgroup",
        source: "cgroup",
        meaning: "The path of the group, as in `processes`. All numbers count the groups below it too, unless said otherwise.",
        value: Value::Text(|row| Cow::Owned(text(&row.cgroup))),
    },
    Field {
        name: "cgroup_version",
        source: "mountinfo",
        meaning: "`v1` or `v2`: the hierarchy that accounts for memory.",
        value: Value::OptionalText(|row| {
            row.version.map(|version| match version {
                Version::V1 => Cow::Borrowed("v1"),
                Version::V2 => Cow::Borrowed("v2"),
            })
        }),
    },
    Field {
        name: "cgroup_processes",
        source: "recorder",
        meaning: "Processes in the group itself, of those that are sampled. 0 of a group above, and after the last has ended.",
        value: Value::Int64(|row| row.processes.into()),
    },
    optional!(
        "cgroup_anon_bytes",
        "memory.stat anon; v1 total_rss",
        |row| row.stat.anon_bytes,
        "Anonymous memory."
    ),
    optional!(
        "cgroup_file_bytes",
        "memory.stat file; v1 total_cache",
        |row| row.stat.file_bytes,
        "Page cache that the group brought in, with tmpfs and shared memory, mapped or not."
    ),
    optional!(
        "cgroup_shmem_bytes",
        "memory.stat shmem; v1 total_shmem",
        |row| row.stat.shmem_bytes,
        "Of that, tmpfs and shared memory."
    ),
    optional!(
        "cgroup_file_mapped_bytes",
        "memory.stat file_mapped; v1 total_mapped_file",
        |row| row.stat.file_mapped_bytes,
        "Of `cgroup_file_bytes`, what processes map."
    ),
    optional!(
        "cgroup_kernel_bytes",
        "memory.stat kernel; v1 memory.kmem.usage_in_bytes",
        |row| row.stat.kernel_bytes,
        "What the kernel took for the group: stacks, page tables, slab. Linux 5.18 for v2."
    ),
    optional!(
        "cgroup_sock_bytes",
        "memory.stat sock",
        |row| row.stat.sock_bytes,
        "Buffers of network sockets. Only v2."
    ),
    optional!(
        "cgroup_swap_bytes",
        "memory.swap.current; v1 memory.stat total_swap",
        |row| row.stat.swap_bytes,
        "Swapped-out memory."
    ),
    optional!(
        "cgroup_current_bytes",
        "memory.current; v1 memory.usage_in_bytes",
        |row| row.current_bytes,
        "All memory that is charged to the group, page cache included. Null of the root of v2."
    ),
    optional!(
        "cgroup_peak_bytes",
        "memory.peak; v1 memory.max_usage_in_bytes",
        |row| row.peak_bytes,
        "The largest `cgroup_current_bytes` so far. Page cache counts, so a group that reads files goes up to its limit and stays there: it says what was charged, not what was needed. Linux 5.19 for v2."
    ),
    optional!(
        "cgroup_limit_bytes",
        "memory.max; v1 memory.limit_in_bytes",
        |row| row.limit_bytes,
        "The limit of the group itself. Null: none, or not known where `cgroup_current_bytes` is null."
    ),
    optional!(
        "cgroup_effective_limit_bytes",
        "memory.max of all above; v1 memory.stat hierarchical_memory_limit",
        |row| row.effective_limit_bytes,
        "The smallest limit of the group and of those above it that can be seen; in v1 of all above. Null: none."
    ),
    optional!(
        "cgroup_high_events",
        "memory.events high",
        |row| row.events.high,
        "How often processes were throttled for being above `memory.high`. Only v2."
    ),
    optional!(
        "cgroup_max_events",
        "memory.events max; v1 memory.failcnt",
        |row| row.events.max,
        "How often the group was about to go above its limit. In v1 of the group itself."
    ),
    optional!(
        "cgroup_oom_events",
        "memory.events oom",
        |row| row.events.oom,
        "How often it could not be kept below its limit. Only v2."
    ),
    optional!(
        "cgroup_oom_kill",
        "memory.events oom_kill; v1 memory.oom_control oom_kill",
        |row| row.events.oom_kill,
        "Processes killed by the OOM killer. In v1 of the group itself. Linux 4.13."
    ),
    optional!(
        "cgroup_psi_some_us",
        "memory.pressure some total",
        |row| Some(row.pressure?.some.total_us),
        "Time in which at least one task of the group waited for memory, in microseconds. Where memory is in v1, of the group with the same path in v2, if there is one."
    ),
    optional!(
        "cgroup_psi_full_us",
        "memory.pressure full total",
        |row| Some(row.pressure?.full?.total_us),
        "Time in which all busy tasks of the group waited for memory, in microseconds; the same holds."
    ),
]);
