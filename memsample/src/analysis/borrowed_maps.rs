//! What has forked and not yet run a program: its memory is that of its parent, and counts once in every sum.

use std::collections::HashMap;

use crate::recording::ImageRow;

/// What is known of the images of one process.
#[derive(Clone, Copy, Default)]
struct ProcessImages {
    start_ns: u64,
    rss_peak_bytes: u64,
    /// Whether it has executed a program.
    has_executed: bool,
}

/// The images of tests.
#[derive(Default)]
pub(super) struct TestImages {
    /// Those that count in sums.
    pub(super) counted: Vec<ImageRow>,
    /// Those between a fork and the first exec that were never larger than their parent. They are in no sum; what they may
    /// own is in the upper bound.
    pub(super) borrowed: Vec<ImageRow>,
}

/// Sets apart the images between a fork and the first exec that were never larger than their parent.
///
/// After `vfork` and its like both have one memory map, and each of them shows all of it. After `fork` the pages are
/// shared until one of the two writes to them. What has grown beyond its parent has memory of its own, and counts.
pub(super) fn apart_from_borrowed(rows: Vec<ImageRow>) -> TestImages {
    let mut processes: HashMap<i32, Vec<ProcessImages>> = HashMap::new();
    for row in &rows {
        let of_pid = processes.entry(row.pid).or_default();
        let known = of_pid.iter().position(|process| process.start_ns == row.start_ns);
        let index = known.unwrap_or_else(|| {
            of_pid.push(ProcessImages { start_ns: row.start_ns, ..ProcessImages::default() });
            of_pid.len() - 1
        });
        if let Some(process) = of_pid.get_mut(index) {
            let peak = row.rss_peak_bytes.max(row.hwm_bytes).unwrap_or(0);
            process.rss_peak_bytes = process.rss_peak_bytes.max(peak);
            process.has_executed |= row.exec > 0;
        }
    }
    let (counted, borrowed) = rows.into_iter().partition(|row| {
        let of_pid = |pid: i32| processes.get(&pid).map(Vec::as_slice).unwrap_or_default();
        let own = of_pid(row.pid).iter().find(|process| process.start_ns == row.start_ns);
        if row.exec > 0 || row.samples == 0 || !own.is_some_and(|own| own.has_executed) {
            return true;
        }
        // Of the processes that had the pid, the parent is the last one that began before.
        let before = of_pid(row.ppid).iter().filter(|parent| parent.start_ns <= row.start_ns);
        let parent = before.max_by_key(|parent| parent.start_ns);
        parent.is_none_or(|parent| row.rss_peak_bytes > Some(parent.rss_peak_bytes))
    });
    TestImages { counted, borrowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(process: u64, (pid, ppid): (i32, i32), exec: i32, rss_bytes: u64) -> ImageRow {
        ImageRow {
            exec,
            samples: 1,
            rss_peak_bytes: Some(rss_bytes),
            start_ns: u64::from(pid.unsigned_abs()),
            ..ImageRow::unseen(process, pid, ppid)
        }
    }

    #[track_caller]
    fn check(rows: Vec<ImageRow>, expected: &[u64]) {
        let left: Vec<u64> =
            apart_from_borrowed(rows).counted.iter().map(|row| row.process).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn what_shows_the_memory_of_its_parent_is_left_out() {
        let parent = || row(1, (10, 1), 1, 300);
        // It executes a program later.
        check(vec![parent(), row(2, (11, 10), 0, 300), row(3, (11, 10), 1, 5)], &[1, 3]);
        // It never does: it is a worker.
        check(vec![parent(), row(2, (11, 10), 0, 300)], &[1, 2]);
        // It has allocated before it does.
        check(vec![parent(), row(2, (11, 10), 0, 301), row(3, (11, 10), 1, 5)], &[1, 2, 3]);
        // Nothing is known of its parent.
        check(vec![row(2, (11, 10), 0, 300), row(3, (11, 10), 1, 5)], &[2, 3]);
        // One that had the pid of the parent later.
        check(
            vec![row(1, (12, 1), 1, 300), row(2, (11, 12), 0, 3), row(3, (11, 12), 1, 5)],
            &[1, 2, 3],
        );
    }
}
