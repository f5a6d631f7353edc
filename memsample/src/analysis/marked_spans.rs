//! The spans of time between the marks of tests, where a test is what was marked and not what it started.

use std::collections::HashMap;
use std::io;

use jiff::Timestamp;

use super::span_marks::{SpanMark, span_marks};
use super::test_membership::EXEC_MARK;
use crate::recording::Recording;

/// The prefix of the names of the marks that `memsample run` sets around an attempt.
pub const ATTEMPT_MARK: &str = "attempt ";

/// Returns the name of the marks between which an attempt of a repetition is; both are counted from 1.
#[must_use]
pub fn attempt_mark(repetition: u32, attempt: u32) -> String {
    format!("{ATTEMPT_MARK}{repetition}.{attempt}")
}

/// The time from a mark at the begin to that of the same test and name at the end.
#[derive(Clone, Debug)]
pub(super) struct MarkedSpan {
    pub(super) test: String,
    /// It has the name of the mark.
    pub(super) begin: SpanMark,
    /// `None` where no mark ends it. It then lasts until the same begins again, at `again_ns`, or else until the
    /// end of the recording.
    pub(super) end: Option<SpanMark>,
    pub(super) again: Option<(i64, u64)>,
}

/// A mark of kind `end` before which no mark of the same test and name is of kind `begin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndWithoutBegin {
    /// The test.
    pub test: String,
    /// The name of the mark.
    pub mark: String,
    /// When it was set.
    pub ts: Timestamp,
}

/// The spans in the order of their begin, and the ends without a begin.
pub(super) struct MarkedSpans {
    pub(super) spans: Vec<MarkedSpan>,
    pub(super) without_begin: Vec<EndWithoutBegin>,
}

/// Reads the marks of tests, without those of programs that say which processes a test consists of.
pub(super) fn marked_spans(recording: &Recording) -> io::Result<MarkedSpans> {
    let is_own =
        |mark: &SpanMark| mark.name.starts_with(EXEC_MARK) || mark.name.starts_with(ATTEMPT_MARK);
    spans_of(span_marks(recording)?.filter(|mark| !is_own(mark)))
}

fn spans_of(marks: impl IntoIterator<Item = SpanMark>) -> io::Result<MarkedSpans> {
    let mut spans: Vec<MarkedSpan> = Vec::new();
    let mut without_begin = Vec::new();
    // The last span of each test and name.
    let mut open: HashMap<(String, String), usize> = HashMap::new();
    for mark in marks {
        let Some(test) = mark.test.clone() else { continue };
        let key = (test.clone(), mark.name.clone());
        let before = open.remove(&key).and_then(|index| spans.get_mut(index));
        match (mark.begins, before) {
            (true, before) => {
                if let Some(unended) = before {
                    unended.again = Some((mark.ts_ms, mark.boot_ns));
                }
                open.insert(key, spans.len());
                spans.push(MarkedSpan { test, begin: mark, end: None, again: None });
            }
            (false, Some(span)) => span.end = Some(mark),
            (false, None) => {
                let ts = Timestamp::from_millisecond(mark.ts_ms).map_err(io::Error::other)?;
                let (test, mark) = key;
                without_begin.push(EndWithoutBegin { test, mark, ts });
            }
        }
    }
    Ok(MarkedSpans { spans, without_begin })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Begin, end and the begin of the next.
    type Times = [Option<i64>; 3];

    /// Returns the spans of marks of one test by their names, and the number of ends without a begin.
    fn spans(marks: &[(i64, bool, &str)]) -> (Vec<(String, Times)>, usize) {
        let marks = marks.iter().map(|&(ts_ms, begins, name)| {
            SpanMark::of_test("test", name, begins, (ts_ms, ts_ms.unsigned_abs()))
        });
        let found = spans_of(marks).unwrap();
        let times = |span: MarkedSpan| {
            let end = span.end.map(|mark| mark.ts_ms);
            (span.begin.name, [Some(span.begin.ts_ms), end, span.again.map(|(ts_ms, _)| ts_ms)])
        };
        (found.spans.into_iter().map(times).collect(), found.without_begin.len())
    }

    #[track_caller]
    fn check(marks: &[(i64, bool, &str)], expected: &[(&str, Times)], without_begin: usize) {
        let expected = expected.iter().map(|&(name, times)| (name.to_owned(), times)).collect();
        assert_eq!(spans(marks), (expected, without_begin));
    }

    #[test]
    fn marks_of_one_test_with_different_names_overlap() {
        // As of two workers that run the same test.
        let marks = [(1, true, "a"), (2, true, "b"), (3, false, "a"), (4, false, "b")];
        check(&marks, &[("a", [Some(1), Some(3), None]), ("b", [Some(2), Some(4), None])], 0);
    }

    #[test]
    fn what_begins_again_has_ended_and_an_end_alone_is_none() {
        let marks =
            [(1, false, "a"), (2, true, "a"), (5, true, "a"), (8, false, "a"), (9, false, "a")];
        check(&marks, &[("a", [Some(2), None, Some(5)]), ("a", [Some(5), Some(8), None])], 2);
    }
}
