//! The table `ticks`: one tick of the recorder.

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::table::Table;
use crate::counts::{CgroupCounts, ExitCounts, SweepCounts};

/// One tick of the recorder: when it was due, when it ran, and what it could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tick {
    pub(crate) ts_ms: i64,
    pub(crate) planned_ns: u64,
    pub(crate) began_ns: u64,
    pub(crate) duration_us: u64,
    pub(crate) counts: SweepCounts,
    /// Sampled, and not of the recording.
    pub(crate) outside: u32,
    pub(crate) late: u32,
    pub(crate) missed: u32,
    pub(crate) dropped: u32,
    pub(crate) clock_offset_us: i64,
    pub(crate) exits: ExitCounts,
    pub(crate) cgroups: CgroupCounts,
}

pub(crate) fn table() -> Table {
    FIELDS.table("ticks", "one tick of the recorder", &["ts"])
}

pub(crate) const FIELDS: Fields<Tick> = Fields(&[
    Field {
        name: "ts",
        source: "recorder",
        meaning: "The planned instant, as in `samples`.",
        value: Value::Timestamp(|tick| tick.ts_ms),
    },
    Field {
        name: "planned_ns",
        source: "CLOCK_BOOTTIME",
        meaning: "The planned instant in nanoseconds since boot, the clock of `processes.start_ns`.",
        value: Value::Int64(|tick| tick.planned_ns),
    },
    Field {
        name: "began_ns",
        source: "CLOCK_BOOTTIME",
        meaning: "When the sweep really began. Processes are read one after the other from then on.",
        value: Value::Int64(|tick| tick.began_ns),
    },
    Field {
        name: "duration_us",
        source: "CLOCK_BOOTTIME",
        meaning: "How long the sweep took.",
        value: Value::Int64(|tick| tick.duration_us),
    },
    Field {
        name: "processes_read",
        source: "recorder",
        meaning: "Processes that were read: the rows of `samples` at this `ts`, unless they were dropped.",
        value: Value::Int32(|tick| count(tick.counts.processes)),
    },
    Field {
        name: "outside",
        source: "recorder",
        meaning: "Processes that were read and are no rows, since they are outside the target of the recording.",
        value: Value::Int32(|tick| count(tick.outside)),
    },
    Field {
        name: "born",
        source: "proc connector, loadavg, /proc, stat",
        meaning: "Process images seen for the first time: new processes, and known ones after an exec.",
        value: Value::Int32(|tick| count(tick.counts.born)),
    },
    Field {
        name: "gone",
        source: "ENOENT, ESRCH, zombies",
        meaning: "Processes that ended since the tick before, or while they were read.",
        value: Value::Int32(|tick| count(tick.counts.gone)),
    },
    Field {
        name: "events_lost",
        source: "proc connector",
        meaning: "Events of processes that were lost since the tick before, which a listing made up for: exact from the numbers that the kernel gives them.",
        value: Value::Int32(|tick| count(tick.counts.events_lost)),
    },
    Field {
        name: "unseen",
        source: "proc connector",
        meaning: "Processes that began and ended between two ticks and of which nothing else is known: no sample and no exit record.",
        value: Value::Int32(|tick| count(tick.exits.unseen)),
    },
    Field {
        name: "unattributed",
        source: "recorder",
        meaning: "Processes that may belong to a test of the recording, and of which that is not known: an ancestor of theirs is not, or they are themselves among `unseen`.",
        value: Value::Int32(|tick| count(tick.exits.unattributed)),
    },
    Field {
        name: "exits",
        source: "taskstats",
        meaning: "Exits that the kernel reported since the tick before: the rows of `exits` at this `ts`.",
        value: Value::Int32(|tick| count(tick.exits.exits)),
    },
    Field {
        name: "exits_lost",
        source: "ENOBUFS",
        meaning: "How often the kernel dropped exit records because the socket was full: each stands for one at least.",
        value: Value::Int32(|tick| count(tick.exits.overflows)),
    },
    Field {
        name: "denied",
        source: "EACCES, EPERM",
        meaning: "Files, or whole processes, that the kernel refused to show.",
        value: Value::Int32(|tick| count(tick.counts.denied)),
    },
    Field {
        name: "unreadable",
        source: "other errors",
        meaning: "Files that could not be read or understood for another reason.",
        value: Value::Int32(|tick| count(tick.counts.unreadable)),
    },
    Field {
        name: "reopened",
        source: "RLIMIT_NOFILE",
        meaning: "Processes read by opening their files, because no descriptor was left to keep.",
        value: Value::Int32(|tick| count(tick.counts.reopened)),
    },
    Field {
        name: "pss_read",
        source: "recorder",
        meaning: "Processes whose `smaps_rollup` was read.",
        value: Value::Int32(|tick| count(tick.counts.rollups_read)),
    },
    Field {
        name: "pss_cost_us",
        source: "CLOCK_THREAD_CPUTIME_ID",
        meaning: "The CPU time that it took, where there is a budget for it.",
        value: Value::Int32(|tick| count(tick.counts.rollups_cost_us)),
    },
    Field {
        name: "pss_pending",
        source: "recorder",
        meaning: "Processes whose PSS was due and was put off, because the budget was spent or the sweep would have been late.",
        value: Value::Int32(|tick| count(tick.counts.rollups_pending)),
    },
    Field {
        name: "pss_skipped",
        source: "recorder",
        meaning: "Processes whose PSS is not read because a single reading would hold them up for more than 75 ms or break the budget. With a budget counted once a second.",
        value: Value::Int32(|tick| count(tick.counts.rollups_skipped)),
    },
    Field {
        name: "stuck",
        source: "recorder",
        meaning: "Processes of which a reading has not come back by now, because a lock of theirs is held. What it would have read, PSS or what the process is, is null, while the rest is read as ever. A mark of kind `stuck` names each.",
        value: Value::Int32(|tick| count(tick.counts.stuck)),
    },
    Field {
        name: "cgroups",
        source: "recorder",
        meaning: "Control groups that were read: the rows of `cgroups` at this `ts`, unless the writer was behind.",
        value: Value::Int32(|tick| count(tick.cgroups.read)),
    },
    Field {
        name: "cgroups_gone",
        source: "ENOENT, ENODEV",
        meaning: "Control groups that were removed since they were last read.",
        value: Value::Int32(|tick| count(tick.cgroups.gone)),
    },
    Field {
        name: "cgroups_unreadable",
        source: "recorder",
        meaning: "Control groups of which something could not be read or understood, or that cannot be seen from here, or that were more than 1024.",
        value: Value::Int32(|tick| count(tick.cgroups.unreadable)),
    },
    Field {
        name: "cgroups_cost_us",
        source: "CLOCK_THREAD_CPUTIME_ID",
        meaning: "The CPU time that they took.",
        value: Value::Int32(|tick| count(tick.cgroups.cost_us)),
    },
    Field {
        name: "late",
        source: "recorder",
        meaning: "Planned instants that this tick stands for and did not meet: 1 if it began more than half an interval late, and 1 for each missed one.",
        value: Value::Int32(|tick| count(tick.late)),
    },
    Field {
        name: "missed",
        source: "recorder",
        meaning: "Planned instants since the tick before at which no sweep began.",
        value: Value::Int32(|tick| count(tick.missed)),
    },
    Field {
        name: "dropped",
        source: "recorder",
        meaning: "Samples that were read at this tick and not written, because the writer was behind.",
        value: Value::Int32(|tick| count(tick.dropped)),
    },
    Field {
        name: "clock_offset_us",
        source: "CLOCK_REALTIME",
        meaning: "The wall clock minus the time of the recording. Not zero after the clock was set or slewed.",
        value: Value::Signed(|tick| tick.clock_offset_us),
    },
]);

/// Counts are of processes, of which the kernel allows four million.
fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
