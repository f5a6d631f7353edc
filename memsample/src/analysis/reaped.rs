//! What processes had at most, by who reaped them: the largest resident set of all their images, those that an exec
//! replaced included.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::span_marks::{SpanMark, label_of, span_marks};
use crate::recording::{ForksBy, ImageRow, Recording};

/// The label of the mark at the end of a test with the largest resident set, in bytes, of the processes that the process
/// which the mark is about has reaped.
const REAPED_LABEL: &str = "reaped_max_rss_bytes";

/// Returns the label of a mark at the end of a test that says what the children of the process which the mark is about
/// had at most, all of which it has reaped. With it, images of these children that an exec replaced have an upper bound.
///
/// `max_rss_bytes` is `ru_maxrss` of the reaper's `getrusage(RUSAGE_CHILDREN)`.
#[must_use]
pub fn reaped_label(max_rss_bytes: u64) -> BTreeMap<String, String> {
    BTreeMap::from([(REAPED_LABEL.to_owned(), max_rss_bytes.to_string())])
}

/// What the marks of a recording say of reaped processes.
pub(super) struct Reaped {
    tests: Vec<ReapedTest>,
    interval_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ReapedTest {
    test: String,
    reaper_pid: i32,
    max_rss_bytes: u64,
    begin_ms: i64,
    end_ms: i64,
}

impl Reaped {
    /// Nothing is known where the kernel did not report all forks: the parent of a process may then be who adopted it,
    /// and who adopted it may not have reaped it yet.
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let manifest = recording.manifest();
        let settings = &manifest.provenance.settings;
        let interval_ms = i64::try_from(settings.interval_ms).unwrap_or(i64::MAX);
        let mut tests = Vec::new();
        if settings.forks == ForksBy::ProcConnector && manifest.totals.events_lost == 0 {
            tests = reaped_tests(recording)?;
        }
        Ok(Self { tests, interval_ms })
    }

    /// Returns the largest resident set that any image of the same process had, in bytes.
    pub(super) fn max_rss_bytes(&self, row: &ImageRow) -> Option<u64> {
        let test = row.test.as_deref()?;
        let of_image = self.tests.iter().find(|reaped| {
            reaped.reaper_pid == row.ppid
                && reaped.test == test
                // A sweep may begin later than planned, and so after the mark.
                && row.first_ms >= reaped.begin_ms.saturating_sub(self.interval_ms)
                && row.first_ms <= reaped.end_ms.saturating_add(self.interval_ms)
        });
        of_image.map(|reaped| reaped.max_rss_bytes)
    }
}

fn reaped_tests(recording: &Recording) -> io::Result<Vec<ReapedTest>> {
    let mut begins: HashMap<(String, String), i64> = HashMap::new();
    let mut ends = Vec::new();
    for mark in span_marks(recording)? {
        let reaped = mark.labels.as_deref().and_then(labelled).zip(mark.pid);
        let SpanMark { ts_ms, begins: is_begin, test, name, .. } = mark;
        // The marks of a command have no test, and its images have their name.
        let key = (test.unwrap_or_else(|| name.clone()), name);
        if is_begin {
            begins.insert(key, ts_ms);
        } else if let Some((max_rss_bytes, reaper_pid)) = reaped {
            ends.push((key, ts_ms, reaper_pid, max_rss_bytes));
        }
    }
    let reaped = ends.into_iter().filter_map(|(key, end_ms, reaper_pid, max_rss_bytes)| {
        let begin_ms = begins.get(&key).copied()?;
        Some(ReapedTest { test: key.0, reaper_pid, max_rss_bytes, begin_ms, end_ms })
    });
    Ok(reaped.collect())
}

fn labelled(labels: &str) -> Option<u64> {
    label_of(labels, REAPED_LABEL)?.parse().ok().filter(|&max_rss_bytes| max_rss_bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_children_of_the_reaper_within_its_test_are_bounded() {
        let reaped = ReapedTest {
            test: "a".to_owned(),
            reaper_pid: 7,
            max_rss_bytes: 500,
            begin_ms: 1000,
            end_ms: 2000,
        };
        let reaped = Reaped { tests: vec![reaped], interval_ms: 100 };
        let of = |test: &str, ppid, first_ms| {
            let row = ImageRow::unseen(0, 9, ppid);
            let row = ImageRow { test: Some(test.to_owned()), first_ms, ..row };
            reaped.max_rss_bytes(&row)
        };
        assert_eq!(of("a", 7, 1500), Some(500));
        assert_eq!(of("a", 8, 1500), None);
        assert_eq!(of("b", 7, 1500), None);
        // The same pid, of another process.
        assert_eq!((of("a", 7, 800), of("a", 7, 2200)), (None, None));
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        let text = serde_json::to_string(&reaped_label(4096)).unwrap();
        assert_eq!(labelled(&text), Some(4096));
        // Nobody was reaped, or nobody was measured.
        assert_eq!(labelled(&serde_json::to_string(&reaped_label(0)).unwrap()), None);
        assert_eq!(labelled("{}"), None);
    }
}
