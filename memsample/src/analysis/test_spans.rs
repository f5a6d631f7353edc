//! When each test ran, by the marks of its begin and its end.

use std::collections::HashMap;
use std::io;

use super::sampled_image::SampledImage;
use super::span_marks::{SpanMark, span_marks};
use super::test_membership::EXEC_MARK;
use crate::recording::Recording;
use crate::units::START_STEP_NS;

/// One attempt of a test, from one mark to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestSpan {
    /// The name of the mark.
    pub(super) name: String,
    pub(super) begin_ms: i64,
    pub(super) begin_ns: u64,
    /// The time in milliseconds since 1970 and in nanoseconds since boot; `None` if the recording ended
    /// before.
    pub(super) end: Option<(i64, u64)>,
}

/// Reads the spans of each test, in the order of time.
///
/// A span ends with the mark of the same name; marks within it are parts of the test. If `memsample exec`
/// begins the test again, the one before was killed and could set no mark.
pub(super) fn spans(recording: &Recording) -> io::Result<HashMap<String, Vec<TestSpan>>> {
    Ok(spans_of(span_marks(recording)?))
}

fn spans_of(marks: impl IntoIterator<Item = SpanMark>) -> HashMap<String, Vec<TestSpan>> {
    let mut spans: HashMap<String, Vec<TestSpan>> = HashMap::new();
    for SpanMark { ts_ms, boot_ns, begins, test, name, .. } in marks {
        let Some(test) = test else { continue };
        let spans = spans.entry(test).or_default();
        let open = spans.last_mut().filter(|span| span.end.is_none());
        let runs_again = |open: &TestSpan| {
            begins && open.name.starts_with(EXEC_MARK) && name.starts_with(EXEC_MARK)
        };
        let ends = |open: &TestSpan| !begins && open.name == name;
        match open {
            Some(open) if ends(open) => open.end = Some((ts_ms, boot_ns)),
            Some(open) if !runs_again(open) => {}
            open if begins => {
                open.into_iter().for_each(|killed| killed.end = Some((ts_ms, boot_ns)));
                spans.push(TestSpan { name, begin_ms: ts_ms, begin_ns: boot_ns, end: None });
            }
            _ => {}
        }
    }
    spans.retain(|_, spans| !spans.is_empty());
    spans
}

/// Returns the index of the span, of those of its test, to which an image belongs. Spans do not overlap. An
/// image that began between two belongs to the later one, whose mark is set when its processes are ready.
pub(super) fn span_of(spans: &[TestSpan], image: &SampledImage) -> usize {
    if let Some(member) = image.member {
        // It may have begun long before the test into whose group it moved.
        let before = spans.partition_point(|span| span.begin_ms <= member.first_ms);
        return before.saturating_sub(1);
    }
    let start_ns = image.row.start_ns;
    let before = spans.partition_point(|span| span.begin_ns <= start_ns).saturating_sub(1);
    let Some((end_ms, end_ns)) = spans.get(before).and_then(|span| span.end) else {
        return before;
    };
    // Its start may be up to one step later: an image that was present after the end began after it.
    let outlived = image.exit_ns.is_some_and(|exit_ns| exit_ns > end_ns)
        || (image.row.samples > 0 && image.row.last_ms > end_ms);
    let may_be_later = start_ns.saturating_add(START_STEP_NS) > end_ns;
    let began_after = start_ns > end_ns || (may_be_later && outlived);
    match began_after && before + 1 < spans.len() {
        true => before + 1,
        false => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::ImageRow;

    const MS: u64 = 1_000_000;

    fn spans() -> Vec<TestSpan> {
        let span = |begin_ms: i64, end_ms: Option<i64>| TestSpan {
            name: String::new(),
            begin_ms,
            begin_ns: begin_ms.unsigned_abs() * MS,
            end: end_ms.map(|end_ms| (end_ms, end_ms.unsigned_abs() * MS)),
        };
        vec![span(100, Some(200)), span(230, Some(300)), span(305, None)]
    }

    /// An image that began and ended then, or was sampled last then, in milliseconds.
    #[track_caller]
    fn check(start_ms: u64, exit_ms: Option<u64>, last_ms: Option<i64>, expected: usize) {
        let row = ImageRow {
            start_ns: start_ms * MS,
            samples: u64::from(last_ms.is_some()),
            first_ms: last_ms.unwrap_or_default(),
            last_ms: last_ms.unwrap_or_default(),
            ..ImageRow::unseen(1, 1, 0)
        };
        let exit_ns = exit_ms.map(|exit_ms| exit_ms * MS);
        let image = SampledImage { exit_ns, ..SampledImage::new(row) };
        assert_eq!(span_of(&spans(), &image), expected, "{start_ms} {exit_ms:?} {last_ms:?}");
    }

    #[test]
    fn what_runs_again_has_ended_before() {
        let mark = |at_ms: u64, begins, name: &str| {
            SpanMark::of_test("a", name, begins, (at_ms as i64, at_ms * MS))
        };
        let found = |marks: Vec<SpanMark>| -> Vec<(i64, Option<i64>)> {
            let spans = spans_of(marks).remove("a").unwrap_or_default();
            spans.iter().map(|span| (span.begin_ms, span.end.map(|end| end.0))).collect()
        };
        // The first was killed.
        let again =
            vec![mark(1, true, "exec 50"), mark(5, true, "exec 60"), mark(9, false, "exec 60")];
        assert_eq!(found(again), [(1, Some(5)), (5, Some(9))]);
        // A part of the test, as who set the marks has named it.
        let part = vec![
            mark(1, true, "whole"),
            mark(2, true, "part"),
            mark(3, false, "part"),
            mark(9, false, "whole"),
            mark(10, false, "exec 3"),
        ];
        assert_eq!(found(part), [(1, Some(9))]);
    }

    #[test]
    fn an_image_is_of_the_span_in_which_it_began() {
        check(150, Some(160), None, 0);
        check(150, None, Some(160), 0);
        // What a test is started by is forked before the mark.
        check(50, Some(120), None, 0);
        check(210, Some(240), None, 1);
        check(240, None, Some(260), 1);
        check(400, None, Some(500), 2);
        // Its start may be up to a step later, and its end decides.
        check(195, Some(199), None, 0);
        check(195, Some(203), None, 1);
        check(295, None, Some(310), 2);
        check(295, None, Some(298), 1);
        // Behind a server that outlives its test nothing begins anew.
        check(150, Some(400), None, 0);
    }
}
