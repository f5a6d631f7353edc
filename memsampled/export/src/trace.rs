//! What a trace shows beside the memory of the groups: tests, marks, and where samples are late or missing.

use std::collections::BTreeMap;
use std::io;

use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType as Millisecond;
use memsample::Recording;
use memsample::analysis::attempt_roles;

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

/// Returns the marks of a recording, but for those at which tests begin and end.
pub(crate) fn marks(recording: &Recording) -> io::Result<Vec<Mark>> {
    let mut marks = Vec::new();
    for batch in recording.read_table("marks", &["ts", "kind", "name"]) {
        let batch = batch?;
        let text = |name: &str| -> Option<&StringArray> {
            batch.column_by_name(name)?.as_string_opt::<i32>()
        };
        let ts = batch.column_by_name("ts").and_then(|it| it.as_primitive_opt::<Millisecond>());
        let (Some(ts), Some(kinds), Some(names)) = (ts, text("kind"), text("name")) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let kind = kinds.value(row);
            if !matches!(kind, "begin" | "end") && marks.len() < MAX_MARKS {
                let name = format!("{kind}: {}", names.value(row));
                marks.push(Mark { ts_ms: ts.value(row), name });
            }
        }
    }
    marks.sort_by_key(|mark| mark.ts_ms);
    Ok(marks)
}
