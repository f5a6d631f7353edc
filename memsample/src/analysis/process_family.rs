//! Which processes of a test lived while others were read and have no sample of that tick: between a fork and an exec or
//! exit they take a share of what their parent has.

use std::collections::HashMap;

use super::bound::lower;
use super::pss_sums::PssSums;
use super::sweep_windows::SweepWindows;
use crate::recording::ImageRow;

/// The processes of a test.
#[derive(Default)]
pub(super) struct ProcessFamily {
    /// By pid and start.
    lives: HashMap<(i32, u64), ProcessLife>,
    /// The largest resident set that a process with this pid is known to have had, in bytes.
    largest_bytes: HashMap<i32, u64>,
}

/// What is known of all images of a process.
struct ProcessLife {
    ppid: i32,
    /// An instant before its start and one after its end, in nanoseconds since boot.
    lived_ns: (u64, u64),
    /// Its first sample.
    first_ms: Option<i64>,
}

impl ProcessFamily {
    pub(super) fn add(&mut self, row: &ImageRow, (begin_ns, end_ns): (u64, u64)) {
        let largest_bytes = self.largest_bytes.entry(row.pid).or_default();
        *largest_bytes = lower(row).bytes.max(*largest_bytes);
        let begin_ns = begin_ns.min(row.start_ns);
        let first_ms = (row.samples > 0).then_some(row.first_ms);
        let life = self.lives.entry((row.pid, row.start_ns)).or_insert(ProcessLife {
            ppid: row.ppid,
            lived_ns: (begin_ns, end_ns),
            first_ms,
        });
        life.lived_ns = (life.lived_ns.0.min(begin_ns), life.lived_ns.1.max(end_ns));
        life.first_ms = match (life.first_ms, first_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Notes at which ticks there was such a process, and how much it shared at most: no more than its parent had.
    /// A parent outside of the test has no memory in its sum; who is the parent is known if the kernel reports forks.
    pub(super) fn note_unsampled(
        self,
        windows: &SweepWindows,
        parents_are_known: bool,
        pss: &mut PssSums,
    ) {
        let largest_of_all = self.largest_bytes.values().copied().max().unwrap_or(0);
        let if_unknown = if parents_are_known { 0 } else { largest_of_all };
        for life in self.lives.values() {
            let of_parent = self.largest_bytes.get(&life.ppid).copied();
            let bytes = if parents_are_known { of_parent } else { None }.unwrap_or(if_unknown);
            if bytes > 0 {
                let ticks = windows.unsampled_at(life.lived_ns, life.first_ms);
                ticks.for_each(|ts_ms| pss.note_unsampled(ts_ms, bytes));
            }
        }
    }
}
