//! The tables `tests` and `test_roles` of a run: one row for each attempt of a test, and one for each of its roles.
//!
//! They stand beside `results.json`, whose keys have the same names and meanings.

use std::borrow::Cow;

use jiff::Timestamp;

use super::field::{Field, Fields, Value};
use super::table::{RECORDING, Table};

/// Which attempt of which test a row is about, and where its samples are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptKey {
    /// The id of the recording that it is in; `None` where it was not started.
    pub recording: Option<String>,
    /// The suite.
    pub suite: String,
    /// The test.
    pub test: String,
    /// Which of the repetitions that were asked for, from 1.
    pub repetition: u32,
    /// Which attempt of this repetition, from 1.
    pub attempt: u32,
}

/// One attempt of a test: how it ended, and what it used.
///
/// `None` is what was not measured, and never 0; of an upper bound it means that nothing bounds the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestRow {
    /// Which attempt.
    pub key: AttemptKey,
    /// How it ended, in the word of `results.json`.
    pub outcome: String,
    /// Why, for people.
    pub reason: Option<String>,
    /// The exit code of its program.
    pub exit_code: Option<u64>,
    /// The signal that ended its program.
    pub signal: Option<u64>,
    /// Its sandbox.
    pub sandbox: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// The marks of its begin and its end, in the recording.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The peak of resident sets.
    pub rss: Option<TestPeak>,
    /// The peak of proportional sets.
    pub pss: Option<TestPeak>,
    /// The peak of anonymous memory.
    pub anon: Option<TestPeak>,
    /// The largest sum of huge pages of the reserved pool at one tick, in bytes.
    pub hugetlb_peak_bytes: Option<u64>,
    /// What its control group had.
    pub group: TestGroup,
    /// Growth of anonymous memory, in bytes a minute.
    pub growth_bytes_per_minute: Option<i64>,
    /// What was counted of its processes; `None` where nothing was sampled.
    pub counts: Option<TestCounts>,
    /// CPU time of all its processes, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Page faults without I/O.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O.
    pub major_faults: Option<u64>,
}

/// The largest sum at one instant, in bytes, with its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPeak {
    /// The lower bound.
    pub bytes: u64,
    /// What it is from, in the words of `memsample peaks`.
    pub source: Option<&'static str>,
    /// The upper bound.
    pub bytes_upper: Option<u64>,
    /// When it was.
    pub at: Option<Timestamp>,
}

/// What the control group of an attempt had, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestGroup {
    /// The most that was charged to it.
    pub peak_bytes: Option<u64>,
    /// Its upper bound.
    pub peak_bytes_upper: Option<u64>,
    /// The most shared memory.
    pub shmem_peak_bytes: Option<u64>,
    /// Its upper bound.
    pub shmem_peak_bytes_upper: Option<u64>,
    /// When that was.
    pub shmem_peak_at: Option<Timestamp>,
    /// The most shared memory that no process mapped, as a lower bound.
    pub shmem_unmapped_peak_bytes: Option<u64>,
    /// The most that was charged to it at a look, of which the others are the parts.
    pub largest_bytes: Option<u64>,
    /// When that was.
    pub largest_at: Option<Timestamp>,
    /// Anonymous memory then.
    pub anon_bytes: Option<u64>,
    /// Page cache then, with shared memory.
    pub file_bytes: Option<u64>,
    /// Shared memory then.
    pub shmem_bytes: Option<u64>,
    /// What the kernel took for it then.
    pub kernel_bytes: Option<u64>,
    /// Buffers of sockets then.
    pub sock_bytes: Option<u64>,
    /// CPU time while the program ran, in nanoseconds.
    pub cpu_ns: Option<u64>,
}

/// What was counted of the processes of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestCounts {
    /// Its processes.
    pub processes: u64,
    /// Those of which only an exit record is known.
    pub unsampled_processes: u64,
    /// Process images without an upper bound.
    pub unbounded_images: u64,
    /// Its rows of `samples`.
    pub samples: u64,
    /// Ticks that were late or missed while it ran.
    pub gaps: u64,
}

/// What the processes of one role used together within an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRoleRow {
    /// Which attempt.
    pub key: AttemptKey,
    /// The role.
    pub role: String,
    /// The peak of their resident sets.
    pub rss: TestPeak,
    /// How many processes had the role.
    pub processes: u64,
}

/// Returns the tables that a run writes beside `results.json`.
#[must_use]
pub fn result_tables() -> Vec<Table> {
    vec![tests(), test_roles()]
}

pub(crate) fn tests() -> Table {
    let row = "one attempt of a test, also of one that was not started";
    TEST_FIELDS.whole_table("tests", row, &["test", "repetition", "attempt"])
}

pub(crate) fn test_roles() -> Table {
    let row = "one role within an attempt; of each attempt the 50 largest";
    ROLE_FIELDS.whole_table("test_roles", row, &["test", "repetition", "attempt"])
}

fn ms(instant: Timestamp) -> i64 {
    instant.as_millisecond()
}

fn optional(text: Option<&String>) -> Option<Cow<'_, str>> {
    text.map(|text| Cow::Borrowed(text.as_str()))
}

/// The columns by which both tables are joined.
macro_rules! key {
    ($($rest:expr),* $(,)?) => {
        Fields(&[
            Field {
                name: RECORDING.name,
                source: "runner",
                meaning: "Which recording its samples are in, as in the tables of a recording. Null where it was not started.",
                value: Value::OptionalText(|row| optional(row.key.recording.as_ref())),
            },
            Field {
                name: "suite",
                source: "suite",
                meaning: "The name of the suite.",
                value: Value::Text(|row| Cow::Borrowed(&row.key.suite)),
            },
            Field {
                name: "test",
                source: "suite",
                meaning: "The test, as in `samples` and `processes`.",
                value: Value::Text(|row| Cow::Borrowed(&row.key.test)),
            },
            Field {
                name: "repetition",
                source: "runner",
                meaning: "Which of the repetitions that were asked for, from 1.",
                value: Value::Int32(|row| i32::try_from(row.key.repetition).unwrap_or(i32::MAX)),
            },
            Field {
                name: "attempt",
                source: "runner",
                meaning: "Which attempt of this repetition, from 1: above 1 are retries.",
                value: Value::Int32(|row| i32::try_from(row.key.attempt).unwrap_or(i32::MAX)),
            },
            $($rest),*
        ])
    };
}

macro_rules! field {
    ($name:literal, $kind:ident, $source:literal, $value:expr, $meaning:literal) => {
        Field { name: $name, source: $source, meaning: $meaning, value: Value::$kind($value) }
    };
}

/// The columns of a peak.
macro_rules! peak_at {
    ($name:literal, $of:ident, $meaning:literal) => {
        Field {
            name: $name,
            source: "samples, exits",
            meaning: $meaning,
            value: Value::OptionalTimestamp(|row| Some(ms(row.$of.as_ref()?.at?))),
        }
    };
}

pub(crate) const TEST_FIELDS: Fields<TestRow> = key![
    field!(
        "outcome",
        Text,
        "runner",
        |row| Cow::Borrowed(&row.outcome),
        "How it ended, in one word: see docs/verdicts.md."
    ),
    field!(
        "reason",
        OptionalText,
        "runner",
        |row| optional(row.reason.as_ref()),
        "For people: why it ended so."
    ),
    field!(
        "exit_code",
        OptionalInt64,
        "wait",
        |row| row.exit_code,
        "The exit code of its program. Null where a signal ended it."
    ),
    field!("signal", OptionalInt64, "wait", |row| row.signal, "The signal that ended its program."),
    field!(
        "sandbox",
        OptionalText,
        "runner",
        |row| optional(row.sandbox.as_ref()),
        "The sandbox that it had."
    ),
    field!(
        "started",
        OptionalTimestamp,
        "CLOCK_REALTIME",
        |row| row.started.map(ms),
        "When it began. Null where it was not started."
    ),
    field!(
        "duration_ns",
        OptionalInt64,
        "runner",
        |row| row.duration_ns,
        "From its first instruction until its last process ended."
    ),
    field!(
        "begin_ts",
        OptionalTimestamp,
        "marks",
        |row| Some(ms(row.span?.0)),
        "The mark of its begin. On the clock of the recording, as all `ts`."
    ),
    field!(
        "end_ts",
        OptionalTimestamp,
        "marks",
        |row| Some(ms(row.span?.1)),
        "The mark of its end."
    ),
    field!(
        "rss_peak_bytes",
        OptionalInt64,
        "samples, processes, exits",
        |row| Some(row.rss.as_ref()?.bytes),
        "The largest sum of resident sets at one instant, as a lower bound: see docs/peaks.md. Shared pages count once for each process."
    ),
    field!(
        "rss_peak_source",
        OptionalText,
        "runner",
        |row| row.rss.as_ref()?.source.map(Cow::Borrowed),
        "What that is from: `sampled`, the largest sum of samples at one tick; or, of a single process, `high_water_mark` or `exit_record`."
    ),
    field!(
        "rss_peak_bytes_upper",
        OptionalInt64,
        "exits, processes",
        |row| row.rss.as_ref()?.bytes_upper,
        "Its upper bound. Null where nothing bounds it."
    ),
    peak_at!(
        "rss_peak_at",
        rss,
        "The tick with the largest sum; or the latest possible time of the peak of a single process."
    ),
    field!(
        "pss_peak_bytes",
        OptionalInt64,
        "samples",
        |row| Some(row.pss.as_ref()?.bytes),
        "The peak of proportional sets, as a lower bound. Null where it is not known."
    ),
    field!(
        "pss_peak_bytes_upper",
        OptionalInt64,
        "exits, processes",
        |row| row.pss.as_ref()?.bytes_upper,
        "Its upper bound."
    ),
    peak_at!("pss_peak_at", pss, "The tick of that peak."),
    field!(
        "anon_peak_bytes",
        OptionalInt64,
        "samples",
        |row| Some(row.anon.as_ref()?.bytes),
        "The largest sum of anonymous memory at one tick."
    ),
    field!(
        "anon_peak_bytes_upper",
        OptionalInt64,
        "exits, processes",
        |row| row.anon.as_ref()?.bytes_upper,
        "Its upper bound: that of the resident sets, of which it is a part."
    ),
    peak_at!("anon_peak_at", anon, "The tick of that peak."),
    field!(
        "hugetlb_peak_bytes",
        OptionalInt64,
        "samples",
        |row| row.hugetlb_peak_bytes,
        "The largest sum of `hugetlb_bytes` at one tick, as a lower bound: huge pages of the reserved pool, which nothing else here counts."
    ),
    field!(
        "group_peak_bytes",
        OptionalInt64,
        "memory.peak; v1 memory.max_usage_in_bytes",
        |row| row.group.peak_bytes,
        "The most that was charged to its control group at once, as the kernel accounts for it: anonymous and shared memory, mapped or not, page cache, and what the kernel took. Without such a mark the largest at a look. Null, as all of its group, where no control group counts."
    ),
    field!(
        "group_peak_bytes_upper",
        OptionalInt64,
        "memory.peak; v1 memory.max_usage_in_bytes",
        |row| row.group.peak_bytes_upper,
        "Its upper bound: the same. Null where the kernel has no mark, where somebody set it back, and where processes were moved into another group."
    ),
    field!(
        "shmem_peak_bytes",
        OptionalInt64,
        "memory.stat shmem; v1 total_shmem",
        |row| row.group.shmem_peak_bytes,
        "The most shared memory of its control group at a look, as a lower bound: tmpfs, memfd, System V, shared anonymous, mapped or not. Looked at ten times a second."
    ),
    field!(
        "shmem_peak_bytes_upper",
        OptionalInt64,
        "memory.peak; v1 memory.max_usage_in_bytes",
        |row| row.group.shmem_peak_bytes_upper,
        "Its upper bound: that of all that the group had."
    ),
    field!(
        "shmem_peak_at",
        OptionalTimestamp,
        "CLOCK_REALTIME",
        |row| row.group.shmem_peak_at.map(ms),
        "The look with that peak."
    ),
    field!(
        "shmem_unmapped_peak_bytes",
        OptionalInt64,
        "memory.stat shmem - file_mapped; v1 total_shmem - total_mapped_file",
        |row| row.group.shmem_unmapped_peak_bytes,
        "The most shared memory at a look that no process mapped, as a lower bound: no resident set has it."
    ),
    field!(
        "group_largest_bytes",
        OptionalInt64,
        "memory.current; v1 memory.usage_in_bytes",
        |row| row.group.largest_bytes,
        "The most that was charged to its control group at a look. The five columns behind `group_largest_at` are its parts."
    ),
    field!(
        "group_largest_at",
        OptionalTimestamp,
        "CLOCK_REALTIME",
        |row| row.group.largest_at.map(ms),
        "That look."
    ),
    field!(
        "group_anon_bytes",
        OptionalInt64,
        "memory.stat anon; v1 total_rss",
        |row| row.group.anon_bytes,
        "Anonymous memory."
    ),
    field!(
        "group_file_bytes",
        OptionalInt64,
        "memory.stat file; v1 total_cache",
        |row| row.group.file_bytes,
        "Page cache that it brought in, with shared memory."
    ),
    field!(
        "group_shmem_bytes",
        OptionalInt64,
        "memory.stat shmem; v1 total_shmem",
        |row| row.group.shmem_bytes,
        "Of that, shared memory."
    ),
    field!(
        "group_kernel_bytes",
        OptionalInt64,
        "memory.stat kernel; v1 memory.kmem.usage_in_bytes",
        |row| row.group.kernel_bytes,
        "What the kernel took for it: stacks, page tables, slab. Linux 5.18 for v2."
    ),
    field!(
        "group_sock_bytes",
        OptionalInt64,
        "memory.stat sock",
        |row| row.group.sock_bytes,
        "Buffers of network sockets. Only v2."
    ),
    field!(
        "group_cpu_ns",
        OptionalInt64,
        "cpu.stat usage_usec; v1 cpuacct.usage",
        |row| row.group.cpu_ns,
        "CPU time of all in its control group from the order to execute its program until that ended: what `cpu_limit` is compared with."
    ),
    field!(
        "growth_bytes_per_minute",
        OptionalSigned,
        "samples",
        |row| row.growth_bytes_per_minute,
        "The slope of anonymous memory. Null for fewer than 240 samples, or where they span less than twenty seconds."
    ),
    field!(
        "processes",
        OptionalInt64,
        "processes",
        |row| Some(row.counts?.processes),
        "Its processes. Null, as what follows, where nothing is known of any."
    ),
    field!(
        "unsampled_processes",
        OptionalInt64,
        "exits",
        |row| Some(row.counts?.unsampled_processes),
        "Of these, those of which only an exit record is known."
    ),
    field!(
        "unbounded_images",
        OptionalInt64,
        "exits, processes",
        |row| Some(row.counts?.unbounded_images),
        "Its process images without an upper bound, of which one leaves the sum without one."
    ),
    field!(
        "samples",
        OptionalInt64,
        "samples",
        |row| Some(row.counts?.samples),
        "How many rows of `samples` it has."
    ),
    field!(
        "gaps",
        OptionalInt64,
        "ticks",
        |row| Some(row.counts?.gaps),
        "Ticks that were late or missed while it ran."
    ),
    field!(
        "cpu_ns",
        OptionalInt64,
        "exits, samples",
        |row| row.cpu_ns,
        "CPU time of all its processes, as far as it was read."
    ),
    field!(
        "minor_faults",
        OptionalInt64,
        "exits, samples",
        |row| row.minor_faults,
        "Page faults without I/O of all its processes, as far as they were read."
    ),
    field!(
        "major_faults",
        OptionalInt64,
        "exits, samples",
        |row| row.major_faults,
        "Page faults with I/O; the same holds."
    ),
];

pub(crate) const ROLE_FIELDS: Fields<TestRoleRow> = key![
    field!(
        "role",
        Text,
        "exe, comm, cmdline, cgroup",
        |row| Cow::Borrowed(&row.role),
        "What the processes do, as in `processes`."
    ),
    field!(
        "rss_peak_bytes",
        Int64,
        "samples, processes, exits",
        |row| row.rss.bytes,
        "The largest sum of their resident sets at one instant, as a lower bound."
    ),
    field!(
        "rss_peak_bytes_upper",
        OptionalInt64,
        "exits, processes",
        |row| row.rss.bytes_upper,
        "Its upper bound. Null where nothing bounds it."
    ),
    field!(
        "processes",
        Int64,
        "processes",
        |row| row.processes,
        "How many processes had the role."
    ),
];
