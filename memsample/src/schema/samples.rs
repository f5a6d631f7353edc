//! The table `samples`: every process at every tick.

use super::table::{Column, ColumnKind, RECORDING, Table};
use crate::metric::Metric;

/// The columns of `samples` that stand before the metrics.
const SAMPLE_KEY: [Column; 9] = [
    RECORDING,
    Column {
        name: "ts",
        kind: ColumnKind::Timestamp,
        nullable: false,
        source: "recorder",
        meaning: "The planned instant of the tick: on a regular grid, but for the first and the last one, which are at once. When the sweep really began is in `ticks`.",
    },
    Column {
        name: "process",
        kind: ColumnKind::Int64,
        nullable: false,
        source: "recorder",
        meaning: "The process image: the key of `processes`.",
    },
    Column {
        name: "pid",
        kind: ColumnKind::Int32,
        nullable: false,
        source: "/proc",
        meaning: "Process id. Used again by the kernel for other processes: group by `process`.",
    },
    Column {
        name: "comm",
        kind: ColumnKind::Text,
        nullable: false,
        source: "stat 2",
        meaning: "Command name, as of the last reading of `stat`.",
    },
    Column {
        name: "role",
        kind: ColumnKind::Text,
        nullable: false,
        source: "exe, comm, cmdline, cgroup",
        meaning: "What the process does, as of this tick. That of `processes` is the last one.",
    },
    Column {
        name: "test",
        kind: ColumnKind::Text,
        nullable: true,
        source: "caller",
        meaning: "The test that the image belonged to at this tick. That of `processes`, unless a scope was assigned or it moved into another control group while it was running.",
    },
    Column {
        name: "uid",
        kind: ColumnKind::Int64,
        nullable: true,
        source: "status Uid 2; proc connector",
        meaning: "Effective user id at this tick; as of the last reading of `status` where the kernel does not report changes (`forks` in `recording.json`).",
    },
    Column {
        name: "cgroup",
        kind: ColumnKind::Text,
        nullable: true,
        source: "cgroup",
        meaning: "The control group, as of the last reading: at most a second before while the memory of the process changes and 16 a sweep are enough, else ten. In the v1 memory hierarchy where there is one, else in v2.",
    },
];

const fn metric_source_and_meaning(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Rss => (
            "statm 2; status VmRSS where `file_bytes` is not null",
            "Resident set. Shared pages count in full for every process: a sum over processes is too large.",
        ),
        Metric::Vsize => ("statm 1; status VmSize", "Virtual size."),
        Metric::Shared => (
            "statm 3; status RssFile + RssShmem",
            "Resident pages backed by files or shared memory.",
        ),
        Metric::Anon => (
            "statm 2 - 3; status RssAnon",
            "Resident anonymous memory: heap, stacks, private data.",
        ),
        Metric::Data => ("statm 6", "Private writable memory and stack, resident or not."),
        Metric::Text => ("statm 4", "Code of the executable, without libraries, resident or not."),
        Metric::File => (
            "status RssFile",
            "Resident pages of mapped files. As the next four, of the last reading of `status`, since which `statm` is the same.",
        ),
        Metric::Shmem => {
            ("status RssShmem", "Resident shared memory: System V, tmpfs, shared anonymous.")
        }
        Metric::Swap => {
            ("status VmSwap", "Swapped-out anonymous memory; shared memory in swap is not counted.")
        }
        Metric::Hwm => (
            "status VmHWM",
            "The largest resident set of the process so far; an exec starts again from zero.",
        ),
        Metric::Hugetlb => (
            "status HugetlbPages",
            "Mapped huge pages of the reserved pool (hugetlbfs, MAP_HUGETLB), which no resident set and no control group's memory counts. A page that several processes map counts for each.",
        ),
        Metric::Minflt => ("stat 10", "Page faults without I/O since the process began."),
        Metric::Majflt => ("stat 12", "Page faults with I/O since the process began."),
        Metric::Utime => (
            "stat 14",
            "CPU time in user mode since the process began, all threads; steps of one clock tick (10 ms).",
        ),
        Metric::Stime => (
            "stat 15",
            "CPU time in kernel mode since the process began, all threads; steps of one clock tick.",
        ),
        Metric::Pss => (
            "smaps_rollup Pss",
            "Proportional set: each page divided by the processes that map it. Adds up.",
        ),
        Metric::Uss => (
            "smaps_rollup Private_Clean + Private_Dirty",
            "Unique set: what would be freed if the process ended.",
        ),
        Metric::SwapPss => {
            ("smaps_rollup SwapPss", "Swapped-out memory, each page divided by its users.")
        }
    }
}

/// Returns the table of samples: every process at every tick.
#[must_use]
pub fn samples() -> Table {
    let metric_column = |metric: Metric| {
        let (source, meaning) = metric_source_and_meaning(metric);
        Column {
            name: metric.name(),
            kind: ColumnKind::Int64,
            nullable: !metric.is_in_every_row(),
            source,
            meaning,
        }
    };
    Table {
        name: "samples",
        row: "one process at one tick",
        sorted_by: &["process", "ts"],
        columns: SAMPLE_KEY.into_iter().chain(Metric::ALL.into_iter().map(metric_column)).collect(),
    }
}
