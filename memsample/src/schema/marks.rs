//! The table `marks`: instants that mean something to the reader of the recording.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::table::Table;
use crate::identity::ProcessId;

/// An instant that means something to the reader of the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) ts_ms: i64,
    pub(crate) boot_ns: u64,
    pub(crate) kind: MarkKind,
    pub(crate) name: String,
    pub(crate) test: Option<String>,
    /// The image that the mark is about.
    pub(crate) process: Option<ProcessId>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The process that it is about, where who set it named one.
    pub(crate) marked: Option<MarkedProcess>,
}

/// A process that a mark is about, and its memory when the mark was set. What was not read is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkedProcess {
    pub(crate) pid: i32,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) anon_bytes: Option<u64>,
    pub(crate) hwm_bytes: Option<u64>,
}

impl Mark {
    /// Returns what its texts come to.
    pub(crate) fn text_bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(key, value)| key.len() + value.len());
        self.name.len() + self.test.as_ref().map_or(0, String::len) + labels.sum::<usize>()
    }
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MarkKind {
    /// Something begins, such as a test.
    Begin,
    /// What began under the same name ends.
    End,
    /// Something happened at this instant.
    Point,
    /// The wall clock was set. Written by the recorder.
    ClockStep,
    /// The machine was suspended until now. Written by the recorder.
    Suspend,
    /// The OOM killer killed a process. Written by the recorder.
    OomKill,
    /// A lock of a process is held, so that its memory or its arguments cannot be read. Written by the recorder.
    Stuck,
}

impl MarkKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Begin,
        Self::End,
        Self::Point,
        Self::ClockStep,
        Self::Suspend,
        Self::OomKill,
        Self::Stuck,
    ];

    /// Returns the word in the column `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Point => "point",
            Self::ClockStep => "clock_step",
            Self::Suspend => "suspend",
            Self::OomKill => "oom_kill",
            Self::Stuck => "stuck",
        }
    }
}

pub(crate) fn table() -> Table {
    FIELDS.table("marks", "one mark, set from outside or by the recorder", &["ts"])
}

pub(crate) const FIELDS: Fields<Mark> = Fields(&[
    Field {
        name: "ts",
        source: "recorder",
        meaning: "When the mark was set. Not on the grid of the ticks.",
        value: Value::Timestamp(|mark| mark.ts_ms),
    },
    Field {
        name: "boot_ns",
        source: "CLOCK_BOOTTIME",
        meaning: "The same instant in nanoseconds since boot.",
        value: Value::Int64(|mark| mark.boot_ns),
    },
    Field {
        name: "kind",
        source: "caller, recorder",
        meaning: "`begin`, `end` or `point`; by the recorder itself `clock_step`, `suspend`, `oom_kill` or `stuck`.",
        value: Value::Text(|mark| Cow::Borrowed(mark.kind.as_str())),
    },
    Field {
        name: "name",
        source: "caller, recorder",
        meaning: "What begins, ends or happened.",
        value: Value::Text(|mark| Cow::Borrowed(&mark.name)),
    },
    Field {
        name: "test",
        source: "caller, recorder",
        meaning: "The test that the mark belongs to; of an OOM kill, that of the process.",
        value: Value::OptionalText(|mark| mark.test.as_deref().map(Cow::Borrowed)),
    },
    Field {
        name: "process",
        source: "recorder",
        meaning: "The process image that the mark is about, of an OOM kill: the key of `processes`. Null where it is not known, and for other marks.",
        value: Value::OptionalInt64(|mark| mark.process.map(|process| process.0)),
    },
    Field {
        name: "labels",
        source: "caller",
        meaning: "What else the caller wanted to find here: a JSON object of texts, its keys in their order. Null where there are none.",
        value: Value::OptionalText(|mark| {
            let some = Some(&mark.labels).filter(|labels| !labels.is_empty())?;
            // A map of texts is always JSON.
            serde_json::to_string(some).ok().map(Cow::Owned)
        }),
    },
    Field {
        name: "pid",
        source: "caller",
        meaning: "The process that the mark is about, in the pid namespace of the /proc that was read; of the marks of `memsample run` around an attempt, and of `memsample session` and `record` around a command, who started and reaped its processes. Null where the caller named none.",
        value: Value::OptionalInt32(|mark| mark.marked.map(|marked| marked.pid)),
    },
    Field {
        name: "rss_bytes",
        source: "status VmRSS",
        meaning: "The resident set of that process alone, read when the mark was set. Null where no process was named or it could not be read, as the next two.",
        value: Value::OptionalInt64(|mark| mark.marked?.rss_bytes),
    },
    Field {
        name: "anon_bytes",
        source: "status RssAnon",
        meaning: "Its resident anonymous memory then.",
        value: Value::OptionalInt64(|mark| mark.marked?.anon_bytes),
    },
    Field {
        name: "hwm_bytes",
        source: "status VmHWM",
        meaning: "Its largest resident set until then. If it is larger than at an earlier mark, this was reached between the two.",
        value: Value::OptionalInt64(|mark| mark.marked?.hwm_bytes),
    },
]);
