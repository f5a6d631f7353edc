//! The table `marks`: instants that mean something to the reader of the recording.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::table::Table;

/// An instant that means something to the reader of the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) ts_ms: i64,
    pub(crate) boot_ns: u64,
    pub(crate) kind: MarkKind,
    pub(crate) name: String,
    pub(crate) test: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
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
        source: "caller",
        meaning: "The test that the mark belongs to.",
        value: Value::OptionalText(|mark| mark.test.as_deref().map(Cow::Borrowed)),
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
]);
