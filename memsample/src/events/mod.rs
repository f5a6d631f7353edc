//! What the kernel reports as it happens, where this program may ask: forks, execs, exits, and how large the
//! processes were.

mod connector;
mod exact_exit;
mod exact_exits;
mod kernel_log;
mod netlink;
mod taskstats;

use std::collections::HashMap;

use rustix::io::Errno;

use crate::counts::ExitCounts;
use crate::identity::Comm;

pub(crate) use connector::{EventKind, ProcessEvent, ProcessEvents};
pub(crate) use exact_exit::ExactExit;
pub use kernel_log::{KernelLog, OomLimit, OomVictim};
pub(crate) use taskstats::{Counters, TaskExit};

#[cfg(feature = "fuzzing")]
pub(crate) use connector::read_events;
#[cfg(feature = "fuzzing")]
pub(crate) use taskstats::read_exits;

use exact_exits::ExactExits;
use taskstats::{ExitListener, ExitsRefused};

/// Processes of which threads have exited and others still run, at most. Others are not added up.
const MAX_THREADED: usize = 64 * 1024;
/// A record may have come while it was read. No process id is given again within so short a time.
const SLACK_NS: u64 = 1_000_000_000;
/// The parent of all kernel threads.
pub(crate) const KTHREADD: i32 = 2;

/// The exits of processes.
pub(crate) struct ProcessExits {
    listener: ExitListener,
    exact: Option<ExactExits>,
    threads: Threads,
    /// When it was asked before (`CLOCK_MONOTONIC`).
    drained_ns: u64,
}

/// Processes of which threads have ended, by their ids.
#[derive(Default)]
struct Threads(HashMap<i32, EndedThreads>);

/// The threads of a living process that have ended.
#[derive(Clone, Copy, Default)]
struct EndedThreads {
    counters: Counters,
    /// The name of the first thread, if that is one of them: the name of the process.
    comm: Option<Comm>,
    began: Began,
}

/// Between which instants a process began, in nanoseconds of `CLOCK_MONOTONIC`: a record says how long it
/// has lived, and was made after the reading before.
#[derive(Clone, Copy, Default)]
struct Began {
    earliest_ns: u64,
    latest_ns: u64,
}

impl Began {
    fn meets(self, other: Self) -> bool {
        self.earliest_ns <= other.latest_ns && other.earliest_ns <= self.latest_ns
    }
}

impl ProcessExits {
    /// Asks the kernel to report every exit.
    ///
    /// # Errors
    ///
    /// Why it does not, as a reader of the recording should know it.
    pub(crate) fn open() -> Result<Self, String> {
        let listener = ExitListener::open().map_err(|refused| {
            let reason = match refused {
                ExitsRefused::Errno(Errno::PERM | Errno::ACCESS) => {
                    "it needs CAP_NET_ADMIN".to_owned()
                }
                ExitsRefused::Errno(Errno::INVAL) => "it reports only to the first user and pid namespace, and this is another one, as in a container".to_owned(),
                ExitsRefused::Errno(
                    Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT,
                ) => "it has no taskstats".to_owned(),
                ExitsRefused::Errno(Errno::BADMSG) => {
                    "its taskstats are of another version than this program knows".to_owned()
                }
                ExitsRefused::Errno(errno) => errno.to_string(),
                ExitsRefused::Silent => {
                    "it reports only to the first network namespace, and this is another one, as in a container"
                        .to_owned()
                }
            };
            format!(
                "the kernel does not report exits ({reason}): processes that live between two \
                 ticks are not seen, and peaks are as of the last reading"
            )
        })?;
        Ok(Self { listener, exact: None, threads: Threads::default(), drained_ns: 0 })
    }

    /// Has a BPF program say what the processes had when they ended.
    ///
    /// # Errors
    ///
    /// Why it does not, as a reader of the recording should know it. Exits are reported all the same.
    pub(crate) fn use_bpf(&mut self) -> Result<(), String> {
        self.exact = Some(ExactExits::open()?);
        Ok(())
    }

    /// Unloads the BPF program, where there is one.
    pub(crate) fn leave_bpf(&mut self) {
        self.exact = None;
    }

    /// Returns the processes that have ended since the last call, with what all their threads used.
    pub(crate) fn drain(&mut self, now_monotonic_ns: u64) -> (Vec<TaskExit>, ExitCounts) {
        let Self { listener, exact, threads, drained_ns } = self;
        let before_ns = std::mem::replace(drained_ns, now_monotonic_ns);
        let mut exits = Vec::new();
        let overflows = listener.drain(|task| {
            // A kernel thread has no memory. The mark of a program of some pages may be 0 too: all of them are in the parts
            // of the CPUs, which it lacks.
            if task.hwm.0 == 0 && task.ppid == KTHREADD {
                return;
            }
            let lived_ns = task.process_lived_us.saturating_mul(1000);
            let began = Began {
                earliest_ns: before_ns.saturating_sub(lived_ns.saturating_add(SLACK_NS)),
                latest_ns: now_monotonic_ns.saturating_add(SLACK_NS).saturating_sub(lived_ns),
            };
            if let Some(process) = threads.add(task, began) {
                exits.push(process);
            }
        });
        if let Some(exact) = exact {
            exact.add_to(&mut exits);
        }
        let count = u32::try_from(exits.len()).unwrap_or(u32::MAX);
        (exits, ExitCounts { exits: count, overflows, unseen: 0, unattributed: 0 })
    }
}

impl Threads {
    /// Returns the process that has ended with the task, if it has.
    fn add(&mut self, task: TaskExit, began: Began) -> Option<TaskExit> {
        let Self(threads) = self;
        // Of one whose last record was lost, the pid has been given again.
        let known = threads.get(&task.pid).is_some_and(|ended| ended.began.meets(began));
        if !known {
            threads.remove(&task.pid);
        }
        if task.is_last {
            let EndedThreads { counters, comm, .. } = threads.remove(&task.pid).unwrap_or_default();
            let counters = task.counters.plus(counters);
            return Some(TaskExit { counters, comm: comm.unwrap_or(task.comm), ..task });
        }
        if known || threads.len() < MAX_THREADED {
            let ended = threads.entry(task.pid).or_default();
            ended.counters = ended.counters.plus(task.counters);
            ended.began = began;
            if task.tid == task.pid {
                ended.comm = Some(task.comm);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Kibibytes;

    const SECOND: u64 = 1_000_000_000;

    fn task(tid: i32, pid: i32, comm: &[u8], is_last: bool) -> TaskExit {
        TaskExit {
            tid,
            pid,
            ppid: 1,
            uid: 0,
            comm: Comm::new(comm),
            exit_code: 0,
            is_last,
            hwm: Kibibytes(1),
            process_lived_us: 0,
            counters: Counters { minflt: 1, ..Counters::default() },
            exact: None,
        }
    }

    fn at(second: u64) -> Began {
        Began { earliest_ns: second * SECOND, latest_ns: (second + 1) * SECOND }
    }

    #[test]
    fn threads_count_for_the_process_that_they_were_of() {
        let mut threads = Threads::default();
        assert_eq!(threads.add(task(10, 10, b"first", false), at(5)), None);
        assert_eq!(threads.add(task(11, 10, b"second", false), at(5)), None);
        let ended = threads.add(task(12, 10, b"third", true), at(6)).unwrap();
        assert_eq!((ended.comm, ended.counters.minflt), (Comm::new(b"first"), 3));
        // The record of its last thread is lost, and another process gets the pid.
        assert_eq!(threads.add(task(10, 10, b"lost", false), at(20)), None);
        let other = threads.add(task(10, 10, b"other", true), at(90)).unwrap();
        assert_eq!((other.comm, other.counters.minflt), (Comm::new(b"other"), 1));
        assert!(threads.0.is_empty());
    }
}
