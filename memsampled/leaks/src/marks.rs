//! What the marks of a recording say of its parts: what is left out, and where work repeats.

use std::collections::BTreeMap;
use std::io;

use memsample::analysis::{ATTEMPT_MARK, EXEC_MARK, RecordedMark, for_each_mark};
use memsample::{MarkKind, Recording};

/// Names of marks between whose begin and end nothing is judged.
const LEFT_OUT: [&str; 4] = ["setup", "teardown", "cleanup", "fault"];
/// A mark repeats if it was set as often.
const MIN_CYCLES: usize = 3;

/// A time from a mark to another, both included, in milliseconds since 1970.
pub(crate) type Span = (i64, i64);

/// The marks of a recording, in the order of time.
pub(crate) struct Marks(Vec<RecordedMark>);

/// A mark that repeats: its name, and when it was set.
pub(crate) type Cycles = (String, Vec<i64>);

impl Marks {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub(crate) fn read(recording: &Recording) -> io::Result<Self> {
        let mut marks = Vec::new();
        for_each_mark(recording, |mark| marks.push(mark))?;
        marks.sort_by_key(|mark| mark.ts_ms);
        Ok(Self(marks))
    }

    /// Returns what is left out of a test, or of the recording as a whole.
    pub(crate) fn left_out(&self, test: Option<&str>, (begin_ms, end_ms): Span) -> Vec<Span> {
        let mut open: BTreeMap<&str, i64> = BTreeMap::new();
        let mut left_out = Vec::new();
        for mark in self.0.iter().filter(|mark| {
            LEFT_OUT.contains(&mark.name.as_str())
                && mark.test.as_deref() == test
                // That of the test itself, if it has such a name.
                && (test.is_none() || (mark.ts_ms > begin_ms && mark.ts_ms < end_ms))
        }) {
            if mark.kind == MarkKind::Begin {
                open.entry(&mark.name).or_insert(mark.ts_ms);
            } else if mark.kind == MarkKind::End
                && let Some(begin_ms) = open.remove(mark.name.as_str())
            {
                left_out.push((begin_ms, mark.ts_ms));
            }
        }
        left_out.extend(open.into_values().map(|begin_ms| (begin_ms, i64::MAX)));
        left_out
    }

    /// Returns the mark that was set most often within a time, of a test or of the recording as a whole.
    pub(crate) fn cycles(&self, test: Option<&str>, (begin_ms, end_ms): Span) -> Option<Cycles> {
        let mut by_name: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for mark in &self.0 {
            let counts = matches!(mark.kind, MarkKind::Begin | MarkKind::Point)
                && (begin_ms..=end_ms).contains(&mark.ts_ms)
                && (test.is_none() || mark.test.as_deref() == test)
                && !LEFT_OUT.contains(&mark.name.as_str())
                && ![EXEC_MARK, ATTEMPT_MARK].iter().any(|own| mark.name.starts_with(own));
            if counts {
                by_name.entry(&mark.name).or_default().push(mark.ts_ms);
            }
        }
        let (name, times) = by_name.into_iter().max_by_key(|(_, times)| times.len())?;
        (times.len() >= MIN_CYCLES).then(|| (name.to_owned(), times))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn marks(marks: &[(i64, MarkKind, &str, Option<&str>)]) -> Marks {
        let mark =
            |&(ts_ms, kind, name, test): &(i64, MarkKind, &str, Option<&str>)| RecordedMark {
                ts_ms,
                kind,
                name: name.to_owned(),
                test: test.map(str::to_owned),
                labels: None,
            };
        Marks(marks.iter().map(mark).collect())
    }

    #[test]
    fn setup_and_faults_are_left_out_of_what_they_are_of() {
        use MarkKind::{Begin, End};
        let all = marks(&[
            (0, Begin, "setup", None),
            (5, End, "setup", None),
            (10, Begin, "setup", Some("setup")),
            (12, Begin, "fault", Some("setup")),
            (14, End, "fault", Some("setup")),
            (20, End, "setup", Some("setup")),
            (30, Begin, "teardown", None),
        ]);
        // A test of such a name is not left out itself.
        assert_eq!(all.left_out(Some("setup"), (10, 20)), [(12, 14)]);
        assert_eq!(all.left_out(None, (0, 40)), [(0, 5), (30, i64::MAX)]);
        assert_eq!(all.left_out(Some("other"), (0, 40)), []);
    }

    #[test]
    fn the_mark_that_repeats_most_often_counts_cycles() {
        use MarkKind::{Begin, End, Point};
        let mut all: Vec<_> = (0..9)
            .map(|at| (at, if at % 2 == 0 { Begin } else { End }, "request", Some("a")))
            .collect();
        all.extend((0..4).map(|at| (at, Point, "log", Some("a"))));
        all.extend((0..9).map(|at| (at, Point, "attempt 1.1", Some("a"))));
        let all = marks(&all);
        let (name, times) = all.cycles(Some("a"), (0, 100)).unwrap();
        assert_eq!((name.as_str(), times), ("request", vec![0, 2, 4, 6, 8]));
        assert_eq!(all.cycles(None, (0, 100)).unwrap().1.len(), 5);
        assert!(all.cycles(Some("b"), (0, 100)).is_none());
        assert!(all.cycles(Some("a"), (5, 100)).is_none());
    }
}
