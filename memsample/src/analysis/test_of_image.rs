//! Which test a process image belongs to.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use crate::recording::{ImageRow, MarkKind, Recording, numbers};

/// What the marks that `memsample exec` sets are called: this, and the process id of `memsample exec`,
/// whose children are the test.
pub const EXEC_MARK: &str = "exec ";

/// The start of a process is known in steps of this, rounded down.
const START_STEP_NS: u64 = 10_000_000;
/// Generations between a process and the test that is looked for. What is deeper is not found.
const MAX_DEPTH: usize = 4096;

/// A run of a test by `memsample exec`.
struct Span {
    test: Arc<str>,
    begin_ns: u64,
    /// `u64::MAX` where there is no mark, since it was killed or the recording ended before.
    end_ns: u64,
}

/// A mark of `memsample exec`.
struct ExecMark {
    at_ns: u64,
    begins: bool,
    pid: i32,
    test: Arc<str>,
}

/// A process, whatever it executed.
#[derive(Clone, Copy)]
struct Life {
    start_ns: u64,
    ppid: i32,
}

/// Returns the test of each image that has one, by the key of its row.
pub(super) fn tests_of_images(
    recording: &Recording,
    rows: &[ImageRow],
) -> io::Result<HashMap<u64, Arc<str>>> {
    Ok(tests_by(&spans(recording)?, rows))
}

fn tests_by(spans: &HashMap<i32, Vec<Span>>, rows: &[ImageRow]) -> HashMap<u64, Arc<str>> {
    let mut lives: HashMap<i32, Vec<Life>> = HashMap::new();
    if !spans.is_empty() {
        for row in rows {
            lives.entry(row.pid).or_default().push(Life { start_ns: row.start_ns, ppid: row.ppid });
        }
        lives.values_mut().for_each(|lives| lives.sort_unstable_by_key(|life| life.start_ns));
    }
    let test = |row: &ImageRow| match &row.test {
        Some(test) => Some(Arc::from(test.as_str())),
        None => test_by_descent(row, spans, &lives),
    };
    rows.iter().filter_map(|row| Some((row.process, test(row)?))).collect()
}

/// Goes from parent to parent up to a child of a `memsample exec`.
fn test_by_descent(
    row: &ImageRow,
    spans: &HashMap<i32, Vec<Span>>,
    lives: &HashMap<i32, Vec<Life>>,
) -> Option<Arc<str>> {
    if spans.is_empty() {
        return None;
    }
    let mut life = Life { start_ns: row.start_ns, ppid: row.ppid };
    for _ in 0..MAX_DEPTH {
        let began_within = |span: &&Span| {
            life.start_ns.saturating_add(START_STEP_NS) > span.begin_ns
                && life.start_ns <= span.end_ns
        };
        let span = spans.get(&life.ppid).and_then(|spans| spans.iter().rfind(began_within));
        if let Some(span) = span {
            return Some(Arc::clone(&span.test));
        }
        // Of those that had the pid, the parent is the last that was there before.
        let parents = lives.get(&life.ppid)?;
        let before = parents.partition_point(|parent| parent.start_ns <= life.start_ns);
        let parent = *parents.get(before.checked_sub(1)?)?;
        if parent.ppid == life.ppid {
            return None;
        }
        life = parent;
    }
    None
}

/// Returns the runs of tests by the process id of `memsample exec`, each in the order of time.
fn spans(recording: &Recording) -> io::Result<HashMap<i32, Vec<Span>>> {
    let mut marks = Vec::new();
    for batch in recording.read_table("marks", &["boot_ns", "kind", "name", "test"]) {
        let batch = batch?;
        let boot_ns = numbers::<Int64Type>(&batch, "boot_ns")?;
        let text =
            |name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (Some(kind), Some(name), Some(test)) = (text("kind"), text("name"), text("test"))
        else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let begins = match kind.value(row) {
                kind if kind == MarkKind::Begin.as_str() => true,
                kind if kind == MarkKind::End.as_str() => false,
                _ => continue,
            };
            let pid = name.value(row).strip_prefix(EXEC_MARK).and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.filter(|_| test.is_valid(row)) {
                let at_ns = boot_ns.value(row).unsigned_abs();
                marks.push(ExecMark { at_ns, begins, pid, test: Arc::from(test.value(row)) });
            }
        }
    }
    Ok(spans_of(marks))
}

fn spans_of(mut marks: Vec<ExecMark>) -> HashMap<i32, Vec<Span>> {
    marks.sort_by_key(|mark| mark.at_ns);
    let mut spans: HashMap<i32, Vec<Span>> = HashMap::new();
    for ExecMark { at_ns, begins, pid, test } in marks {
        let of_pid = spans.entry(pid).or_default();
        // Another begin of the same process id says that the one before has ended.
        if let Some(open) = of_pid.last_mut().filter(|span| span.end_ns == u64::MAX) {
            open.end_ns = at_ns;
        }
        if begins {
            of_pid.push(Span { test, begin_ns: at_ns, end_ns: u64::MAX });
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn row(process: u64, pid: i32, ppid: i32, start_ms: u64) -> ImageRow {
        ImageRow {
            process,
            pid,
            ppid,
            exec: 0,
            comm: String::new(),
            role: String::new(),
            cmdline: None,
            test: None,
            // As the kernel tells it: in whole clock ticks.
            start_ns: start_ms / 10 * 10 * MS,
            ended: true,
            samples: 0,
            first_ms: 0,
            last_ms: 0,
            rss_peak_bytes: None,
            rss_mean_bytes: None,
            pss_peak_bytes: None,
            hwm_bytes: None,
            exit_hwm_bytes: None,
        }
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
            .map(|row| (row.process, tests.get(&row.process).map_or("", |test| test)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn children_within_the_marks_and_all_below_them_are_the_test() {
        check(
            vec![mark(1005, true, 50, "a"), mark(2000, false, 50, "a")],
            vec![
                (row(0, 1, 0, 0), ""),
                // The one that marks is none of the test, nor is who was there before.
                (row(1, 50, 1, 1000), ""),
                (row(2, 51, 50, 990), ""),
                (row(3, 52, 50, 1006), "a"),
                (row(4, 53, 52, 1500), "a"),
                // It goes on after the mark at the end, and so does what it starts then.
                (row(5, 54, 53, 2500), "a"),
                (row(6, 55, 50, 2500), ""),
            ],
        );
    }

    #[test]
    fn a_pid_that_is_given_again_is_another_process() {
        check(
            vec![
                mark(1000, true, 50, "a"),
                // Killed: it set no mark at the end.
                mark(3000, true, 50, "b"),
                mark(4000, false, 50, "b"),
            ],
            vec![
                (row(0, 60, 50, 1100), "a"),
                (row(1, 61, 60, 1200), "a"),
                (row(2, 60, 1, 2000), ""),
                (row(3, 62, 60, 2100), ""),
                (row(4, 63, 50, 3100), "b"),
                (row(5, 64, 50, 4100), ""),
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
}
