//! What the processes had that ended, as a BPF program notes it: without the error of a high-water mark.

use memsample_bpf::{End, Ends};

use super::exact_exit::ExactExit;
use super::taskstats::TaskExit;

/// By how much the two reports of one end may differ in how long the process lived: the kernel makes them one after the
/// other, and no process id is given again within so short a time.
const SLACK_NS: u64 = 1_000_000_000;
/// The exit record of an end comes before it, but may be read at the next look.
const MAX_AGE: u8 = 1;

/// The ends of processes as BPF notes them.
pub(crate) struct ExactExits {
    ends: Ends,
    waiting: Waiting,
}

/// Ends whose exit record has not been read.
#[derive(Default)]
struct Waiting(Vec<WaitingEnd>);

#[derive(Clone, Copy)]
struct WaitingEnd {
    end: End,
    age: u8,
    is_taken: bool,
}

impl ExactExits {
    /// Has the kernel note every end from now on.
    ///
    /// # Errors
    ///
    /// Why it does not, as a reader of the recording should know it.
    pub(super) fn open() -> Result<Self, String> {
        let ends = Ends::load().map_err(|refused| {
            format!(
                "BPF does not say what processes had when they ended ({refused}): their peaks have the error of a high-water mark"
            )
        })?;
        Ok(Self { ends, waiting: Waiting::default() })
    }

    /// Adds to the processes that have ended what BPF says of them. Their exit records must have been read before.
    pub(super) fn add_to(&mut self, exits: &mut [TaskExit]) {
        let Self { ends, waiting } = self;
        ends.drain(|end| waiting.0.push(WaitingEnd { end, age: 0, is_taken: false }));
        waiting.match_with(exits, rustix::param::page_size() as u64);
    }
}

impl Waiting {
    fn match_with(&mut self, exits: &mut [TaskExit], page_bytes: u64) {
        let Self(waiting) = self;
        waiting.sort_unstable_by_key(|waiting| (waiting.end.pid, waiting.end.number));
        for exit in exits {
            let Ok(pid) = u32::try_from(exit.pid) else { continue };
            let lived_ns = exit.process_lived_us.saturating_mul(1000);
            let first = waiting.partition_point(|waiting| waiting.end.pid < pid);
            let of_pid =
                waiting.iter_mut().skip(first).take_while(|waiting| waiting.end.pid == pid);
            let apart = |waiting: &WaitingEnd| waiting.end.lived_ns.abs_diff(lived_ns);
            let fitting = of_pid.filter(|waiting| !waiting.is_taken && apart(waiting) <= SLACK_NS);
            if let Some(waiting) = fitting.min_by_key(|waiting| apart(waiting)) {
                waiting.is_taken = true;
                exit.exact = exact(&waiting.end, page_bytes);
            }
        }
        waiting.retain_mut(|waiting| {
            waiting.age += 1;
            !waiting.is_taken && waiting.age <= MAX_AGE
        });
    }
}

/// Returns the numbers in bytes; `None` where they are not of one instant.
fn exact(end: &End, page_bytes: u64) -> Option<ExactExit> {
    let bytes = |pages: u64| pages.saturating_mul(page_bytes);
    end.is_of_one_instant.then(|| ExactExit {
        rss_bytes: bytes(end.resident_pages()),
        past_hwm_bytes: bytes(end.hiwater_rss_pages),
        process_max_rss_bytes: bytes(end.maxrss_pages),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Counters;
    use crate::identity::Comm;
    use crate::units::Kibibytes;

    const SECOND: u64 = 1_000_000_000;

    fn end(number: u64, pid: u32, lived_ns: u64, pages: u64) -> WaitingEnd {
        let end = End {
            number,
            pid,
            is_of_one_instant: true,
            start_ns: 0,
            lived_ns,
            file_pages: pages,
            anon_pages: 1,
            shmem_pages: 0,
            hiwater_rss_pages: 5,
            maxrss_pages: 7,
        };
        WaitingEnd { end, age: 0, is_taken: false }
    }

    fn exit(pid: i32, lived_ns: u64) -> TaskExit {
        TaskExit {
            tid: pid,
            pid,
            ppid: 1,
            uid: 0,
            comm: Comm::new(b"x"),
            exit_code: 0,
            is_last: true,
            hwm: Kibibytes(1),
            process_lived_us: lived_ns / 1000,
            counters: Counters::default(),
            exact: None,
        }
    }

    fn pages(exits: &[TaskExit]) -> Vec<Option<u64>> {
        exits.iter().map(|exit| exit.exact.map(|exact| exact.rss_bytes / 4096)).collect()
    }

    #[test]
    fn ends_belong_to_the_process_that_had_the_pid_as_long() {
        let mut waiting = Waiting(vec![
            end(0, 9, 5 * SECOND, 10),
            end(1, 7, 3 * SECOND, 20),
            // Another process that got the pid.
            end(2, 7, 90 * SECOND, 30),
            end(3, 8, SECOND, 40),
        ]);
        let mut exits = [exit(7, 90 * SECOND), exit(7, 3 * SECOND), exit(9, 60 * SECOND)];
        waiting.match_with(&mut exits, 4096);
        assert_eq!(pages(&exits), [Some(31), Some(21), None]);
        let exact = exits[0].exact.unwrap();
        assert_eq!((exact.past_hwm_bytes, exact.process_max_rss_bytes), (5 * 4096, 7 * 4096));
    }

    #[test]
    fn an_end_waits_for_a_record_until_the_next_look() {
        let mut waiting = Waiting(vec![end(0, 7, SECOND, 10), end(1, 8, SECOND, 20)]);
        waiting.match_with(&mut [], 4096);
        let mut exits = [exit(7, SECOND)];
        waiting.match_with(&mut exits, 4096);
        assert_eq!(pages(&exits), [Some(11)]);
        assert!(waiting.0.is_empty());
    }

    #[test]
    fn numbers_that_moved_while_they_were_read_are_not_told() {
        let mut unsteady = end(0, 7, SECOND, 10);
        unsteady.end.is_of_one_instant = false;
        let mut exits = [exit(7, SECOND)];
        Waiting(vec![unsteady]).match_with(&mut exits, 4096);
        assert_eq!(pages(&exits), [None]);
    }
}
