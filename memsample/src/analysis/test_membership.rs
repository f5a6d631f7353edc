//! The test to which a process image belongs.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::borrowed_maps::{TestImages, apart_from_borrowed};
use super::span_marks::{SpanMark, span_marks};
use crate::recording::{ImageRow, Recording};

/// The prefix of the names of the marks that `memsample exec` sets, before its process id. Its children are
/// the test.
pub const EXEC_MARK: &str = "exec ";

/// The error of a start: it is an estimate for a process known only by its exit, and rounded down to clock
/// ticks for others. The kernel does not reuse a process id within so short a time.
const SLACK_NS: u64 = 1_000_000_000;
/// The same where nothing else that the launcher has started may be taken for the command: two clock ticks. A start is
/// rounded down to one, and an estimate may be as much off.
const COMMAND_SLACK_NS: u64 = 20_000_000;
/// Maximum number of generations between a process and its test.
const MAX_DEPTH: usize = 4096;

/// One execution of a test by `memsample exec`.
struct ExecSpan {
    test: Arc<str>,
    begin_ns: u64,
    /// `u64::MAX` if there is no mark, since it was killed or the recording ended before.
    end_ns: u64,
    /// How far before and after these a child may seem to have started.
    slack_ns: u64,
}

/// A mark of `memsample exec`.
struct ExecMark {
    at_ns: u64,
    begins: bool,
    pid: i32,
    test: Arc<str>,
}

/// The relation of a process image to a test.
struct Membership {
    test: Arc<str>,
    /// Whether it has not executed the command yet: it is a fork of `memsample exec` and shows its memory.
    is_copy: bool,
}

/// The start of a process, which all its images share.
#[derive(Clone, Copy)]
struct ProcessStart {
    start_ns: u64,
    ppid: i32,
}

/// Returns the images that belong to a test, with its name in `test`; apart from the others those
/// whose memory is that of their parent.
///
/// The test is that of the column `test`, or else that of the `memsample exec` from which the image descends.
pub(super) fn images_of_tests(recording: &Recording) -> io::Result<TestImages> {
    let spans = spans(recording)?;
    let mut rows = Vec::new();
    recording.for_each_image(|row| {
        // Without such marks nothing descends from them.
        if row.test.is_some() || !spans.is_empty() {
            rows.push(ImageRow { cmdline: None, ..row });
        }
    })?;
    Ok(apart_from_borrowed(keep_tests(&spans, rows)))
}

/// Returns the images of what a process has launched between two instants, and of what descends from that, with `test`
/// in their rows and the arguments of what was launched; apart from the others those whose memory is that of their parent.
pub(super) fn images_launched_by(
    recording: &Recording,
    launcher: i32,
    (begin_ns, end_ns): (u64, Option<u64>),
    test: &str,
) -> io::Result<TestImages> {
    let end_ns = end_ns.unwrap_or(u64::MAX);
    let span = ExecSpan { test: test.into(), begin_ns, end_ns, slack_ns: COMMAND_SLACK_NS };
    let mut rows = Vec::new();
    recording.for_each_image(|row| {
        let cmdline = row.cmdline.filter(|_| row.ppid == launcher);
        rows.push(ImageRow { cmdline, test: None, ..row });
    })?;
    Ok(apart_from_borrowed(keep_tests(&HashMap::from([(launcher, vec![span])]), rows)))
}

fn keep_tests(spans: &HashMap<i32, Vec<ExecSpan>>, mut rows: Vec<ImageRow>) -> Vec<ImageRow> {
    let tests = tests_by(spans, &rows);
    // No image has so high a number, so none of these has samples.
    let mut unsampled = u64::MAX;
    rows.retain_mut(|row| {
        let Some(of) = tests.get(&row.process) else { return false };
        row.test = Some(of.test.to_string());
        if of.is_copy {
            // Its samples do not belong to the test. It executed the command and exited between two ticks if
            // the mark at its exit is below its samples: an exec resets the mark.
            let became = row.exit_hwm_bytes < row.rss_peak_bytes && row.exit_hwm_bytes.is_some();
            row.process = unsampled;
            unsampled -= 1;
            (row.samples, row.rss_peak_bytes, row.hwm_bytes) = (0, None, None);
            return became;
        }
        true
    });
    rows
}

fn tests_by(spans: &HashMap<i32, Vec<ExecSpan>>, rows: &[ImageRow]) -> HashMap<u64, Membership> {
    let mut starts: HashMap<i32, Vec<ProcessStart>> = HashMap::new();
    if !spans.is_empty() {
        for row in rows {
            starts
                .entry(row.pid)
                .or_default()
                .push(ProcessStart { start_ns: row.start_ns, ppid: row.ppid });
        }
        starts.values_mut().for_each(|of_pid| of_pid.sort_unstable_by_key(|start| start.start_ns));
    }
    let of_marker = rows.iter().filter(|row| spans.contains_key(&row.pid));
    let marker_comms: HashSet<(i32, &str)> =
        of_marker.map(|row| (row.pid, row.comm.as_str())).collect();
    let membership = |row: &ImageRow| {
        let test = match &row.test {
            Some(test) => Arc::from(test.as_str()),
            None => test_by_descent(row, spans, &starts)?,
        };
        let is_copy = row.exec == 0 && marker_comms.contains(&(row.ppid, row.comm.as_str()));
        Some((row.process, Membership { test, is_copy }))
    };
    rows.iter().filter_map(membership).collect()
}

/// Follows the parents up to a child of a `memsample exec`.
fn test_by_descent(
    row: &ImageRow,
    spans: &HashMap<i32, Vec<ExecSpan>>,
    starts: &HashMap<i32, Vec<ProcessStart>>,
) -> Option<Arc<str>> {
    if spans.is_empty() {
        return None;
    }
    let mut process = ProcessStart { start_ns: row.start_ns, ppid: row.ppid };
    for _ in 0..MAX_DEPTH {
        let began_within = |span: &&ExecSpan| {
            process.start_ns.saturating_add(span.slack_ns) > span.begin_ns
                && process.start_ns <= span.end_ns.saturating_add(span.slack_ns)
        };
        let span = spans.get(&process.ppid).and_then(|spans| spans.iter().rfind(began_within));
        if let Some(span) = span {
            return Some(Arc::clone(&span.test));
        }
        // Of the processes that had the pid, the parent is the last one that started before.
        let parents = starts.get(&process.ppid)?;
        let before = parents
            .partition_point(|parent| parent.start_ns < process.start_ns.saturating_add(SLACK_NS));
        let parent = *parents.get(before.checked_sub(1)?)?;
        if parent.ppid == process.ppid {
            return None;
        }
        process = parent;
    }
    None
}

/// Returns the executions of tests by the process id of `memsample exec`, in the order of time.
fn spans(recording: &Recording) -> io::Result<HashMap<i32, Vec<ExecSpan>>> {
    let marks = span_marks(recording)?.filter_map(|mark| {
        let pid = mark.name.strip_prefix(EXEC_MARK)?.parse().ok()?;
        let SpanMark { boot_ns: at_ns, begins, test, .. } = mark;
        Some(ExecMark { at_ns, begins, pid, test: Arc::from(test?) })
    });
    Ok(spans_of(marks.collect()))
}

fn spans_of(mut marks: Vec<ExecMark>) -> HashMap<i32, Vec<ExecSpan>> {
    marks.sort_by_key(|mark| mark.at_ns);
    let mut spans: HashMap<i32, Vec<ExecSpan>> = HashMap::new();
    for ExecMark { at_ns, begins, pid, test } in marks {
        let of_pid = spans.entry(pid).or_default();
        // Another begin with the same process id means that the process before has ended.
        if let Some(open) = of_pid.last_mut().filter(|span| span.end_ns == u64::MAX) {
            open.end_ns = at_ns;
        }
        if begins {
            of_pid.push(ExecSpan { test, begin_ns: at_ns, end_ns: u64::MAX, slack_ns: SLACK_NS });
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn row(process: u64, pid: i32, ppid: i32, start_ms: u64) -> ImageRow {
        // As the kernel reports it, in whole clock ticks.
        ImageRow { start_ns: start_ms / 10 * 10 * MS, ..ImageRow::unseen(process, pid, ppid) }
    }

    fn mark(at_ms: u64, begins: bool, pid: i32, test: &str) -> ExecMark {
        ExecMark { at_ns: at_ms * MS, begins, pid, test: test.into() }
    }

    /// Checks the tests of the rows, in their order; empty is none.
    #[track_caller]
    fn check(marks: Vec<ExecMark>, mut rows: Vec<(ImageRow, &str)>) {
        let spans = spans_of(marks);
        let expected: Vec<(u64, &str)> =
            rows.iter().map(|(row, test)| (row.process, *test)).collect();
        let rows: Vec<ImageRow> = rows.drain(..).map(|(row, _)| row).collect();
        let tests = tests_by(&spans, &rows);
        let found: Vec<(u64, &str)> = rows
            .iter()
            .map(|row| (row.process, tests.get(&row.process).map_or("", |of| &*of.test)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn children_within_the_marks_and_all_below_them_are_the_test() {
        check(
            vec![mark(5005, true, 50, "a"), mark(6000, false, 50, "a")],
            vec![
                (row(0, 1, 0, 0), ""),
                // The one that marks is none of the test, nor is a child of who had the pid before.
                (row(1, 50, 1, 5000), ""),
                (row(2, 51, 50, 3990), ""),
                (row(3, 52, 50, 5006), "a"),
                (row(4, 53, 52, 5500), "a"),
                // Its start is an estimate.
                (row(7, 56, 50, 4980), "a"),
                // That of its parent is exact, and its own is rounded down.
                (row(8, 58, 57, 5509), "a"),
                (ImageRow { start_ns: 5_508_500_000, ..row(9, 57, 50, 0) }, "a"),
                // It continues after the mark at the end, and so does a process that it forks then.
                (row(5, 54, 53, 6500), "a"),
                (row(6, 55, 50, 7500), ""),
            ],
        );
    }

    #[test]
    fn a_pid_that_is_given_again_is_another_process() {
        check(
            vec![
                mark(10_000, true, 50, "a"),
                // Killed: it set no mark at the end.
                mark(30_000, true, 50, "b"),
                mark(40_000, false, 50, "b"),
            ],
            vec![
                (row(0, 60, 50, 11_000), "a"),
                (row(1, 61, 60, 12_000), "a"),
                (row(2, 60, 1, 20_000), ""),
                (row(3, 62, 60, 21_000), ""),
                (row(4, 63, 50, 31_000), "b"),
                (row(5, 64, 50, 42_000), ""),
            ],
        );
    }

    #[test]
    fn a_test_that_was_assigned_comes_first_and_circles_end() {
        let assigned = ImageRow { test: Some("assigned".to_owned()), ..row(0, 60, 50, 1100) };
        let marks = vec![mark(1000, true, 50, "a")];
        check(
            marks,
            vec![
                (assigned, "assigned"),
                (row(1, 70, 71, 10), ""),
                (row(2, 71, 70, 10), ""),
                (row(3, 72, 72, 10), ""),
            ],
        );
    }

    #[test]
    fn what_has_not_become_the_command_is_a_copy() {
        let spans = spans_of(vec![mark(1000, true, 50, "a")]);
        let named = |row: ImageRow, comm: &str| ImageRow { comm: comm.to_owned(), ..row };
        let rows = [
            named(row(0, 50, 1, 900), "marker"),
            named(row(1, 51, 50, 1010), "marker"),
            ImageRow { exec: 1, ..named(row(2, 51, 50, 1010), "command") },
            named(row(3, 52, 51, 1020), "marker"),
            // Found after its exec.
            named(row(4, 53, 50, 1030), "command"),
        ];
        let tests = tests_by(&spans, &rows);
        let copies: Vec<u64> =
            tests.iter().filter(|(_, of)| of.is_copy).map(|(process, _)| *process).collect();
        assert_eq!((copies, tests.len()), (vec![1], 4));
    }
}
