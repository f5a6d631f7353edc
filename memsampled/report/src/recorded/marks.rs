//! What happened: OOM kills, suspends, steps of the clock, locked processes, and the spans of tests.

use std::collections::{BTreeMap, HashMap};
use std::io;

use memsample::analysis::{RecordedMark, for_each_mark};
use memsample::{MarkKind, Recording};

/// Marks that are kept of one kind.
const MAX_OF_KIND: usize = 200;
/// Spans that are kept.
const MAX_SPANS: usize = 100_000;

/// The marks of a recording.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// What the recorder noticed, and points that a caller marked, in the order of time.
    pub events: Vec<RecordedEvent>,
    /// Events that were not kept, since there were more than 200 of their kind.
    pub more_events: u64,
    /// What began and ended under the name of a test.
    pub spans: Vec<Span>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// When, in milliseconds since 1970.
    pub ts_ms: i64,
    /// What kind of event.
    pub kind: MarkKind,
    /// What happened, for people.
    pub name: String,
    /// The test that it belongs to.
    pub test: Option<String>,
    /// What else is known of it.
    pub labels: BTreeMap<String, String>,
}

/// The time between two marks of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The test.
    pub test: String,
    /// The name of the marks.
    pub mark: String,
    /// Its begin, in milliseconds since 1970.
    pub begin_ms: i64,
    /// Its end; `None` where no mark ends it.
    pub end_ms: Option<i64>,
}

impl Marks {
    /// Reads the table `marks`.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub fn read(recording: &Recording) -> io::Result<Self> {
        let mut marks = Self::default();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut open: HashMap<(String, String), usize> = HashMap::new();
        for_each_mark(recording, |RecordedMark { ts_ms, kind, name, test, labels }| {
            match (kind, test) {
                (MarkKind::Begin, Some(test)) if marks.spans.len() < MAX_SPANS => {
                    open.insert((test.clone(), name.clone()), marks.spans.len());
                    marks.spans.push(Span { test, mark: name, begin_ms: ts_ms, end_ms: None });
                }
                (MarkKind::End, Some(test)) => {
                    let span = open.remove(&(test, name));
                    if let Some(span) = span.and_then(|span| marks.spans.get_mut(span)) {
                        span.end_ms = Some(ts_ms);
                    }
                }
                (MarkKind::Begin | MarkKind::End, _) => {}
                (kind, test) => {
                    let count = counts.entry(kind.as_str()).or_default();
                    *count += 1;
                    if *count > MAX_OF_KIND {
                        marks.more_events += 1;
                        return;
                    }
                    let labels = labels.and_then(|it| serde_json::from_str(&it).ok());
                    let labels = labels.unwrap_or_default();
                    marks.events.push(RecordedEvent { ts_ms, kind, name, test, labels });
                }
            }
        })?;
        marks.events.sort_by_key(|event| event.ts_ms);
        Ok(marks)
    }
}
