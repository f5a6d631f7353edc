//! What a trace shows beside the memory of the groups: tests, marks, and where samples are late or missing.

use std::collections::BTreeMap;
use std::io;

use memsample::analysis::{RecordedMark, attempt_roles, for_each_mark};
use memsample::{MarkKind, Recording};

/// Marks, at most.
const MAX_MARKS: usize = 100_000;

/// A span of time in which a test ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestSpan {
    /// The test, and which attempt if it is not the first.
    pub(crate) name: String,
    pub(crate) begin_ms: i64,
    pub(crate) end_ms: i64,
    /// A row in which no two tests overlap.
    pub(crate) row: usize,
}

/// Something that happened at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) ts_ms: i64,
    /// What happened: `point: half done`, `oom_kill: cc1plus`.
    pub(crate) name: String,
}

/// Returns the tests of a recording, in the order of their begin.
pub(crate) fn test_spans(recording: &Recording) -> io::Result<Vec<TestSpan>> {
    let mut spans: BTreeMap<(String, usize), (i64, i64)> = BTreeMap::new();
    for role in attempt_roles(recording)? {
        let span = spans.entry((role.test, role.attempt)).or_insert((role.begin_ms, role.end_ms));
        *span = (span.0.min(role.begin_ms), span.1.max(role.end_ms));
    }
    let mut spans: Vec<TestSpan> = spans
        .into_iter()
        .map(|((test, attempt), (begin_ms, end_ms))| TestSpan {
            name: if attempt == 0 { test } else { format!("{test} [{}]", attempt + 1) },
            begin_ms,
            end_ms: end_ms.max(begin_ms),
            row: 0,
        })
        .collect();
    spans.sort_by_key(|span| (span.begin_ms, span.end_ms));
    let mut ends: Vec<i64> = Vec::new();
    for span in &mut spans {
        let free = ends.iter().position(|end| *end <= span.begin_ms);
        span.row = free.unwrap_or(ends.len());
        match ends.get_mut(span.row) {
            Some(end) => *end = span.end_ms,
            None => ends.push(span.end_ms),
        }
    }
    Ok(spans)
}

/// Returns the marks of a recording, but for those at which tests begin and end. If there are more than are kept, the last
/// one says how many are left out.
pub(crate) fn marks(recording: &Recording) -> io::Result<Vec<Mark>> {
    let (mut marks, mut more): (Vec<Mark>, u64) = (Vec::new(), 0);
    for_each_mark(recording, |RecordedMark { ts_ms, kind, name, .. }| match kind {
        MarkKind::Begin | MarkKind::End => {}
        _ if marks.len() >= MAX_MARKS => more += 1,
        kind => marks.push(Mark { ts_ms, name: format!("{}: {name}", kind.as_str()) }),
    })?;
    marks.sort_by_key(|mark| mark.ts_ms);
    if let (Some(last), 1..) = (marks.last(), more) {
        marks.push(Mark { ts_ms: last.ts_ms, name: format!("{more} more marks are left out") });
    }
    Ok(marks)
}
