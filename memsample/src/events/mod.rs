//! What the kernel tells by itself, where it may be asked: which processes begin, which have ended, and
//! how large they were.

mod connector;
mod netlink;
mod taskstats;

use std::collections::HashMap;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::identity::Comm;

pub(crate) use connector::{ProcessEvent, ProcessEvents, What};
pub(crate) use taskstats::{Counters, TaskExit};

#[cfg(feature = "fuzzing")]
pub(crate) use connector::read_events;
#[cfg(feature = "fuzzing")]
pub(crate) use taskstats::read_exits;

use taskstats::ExitListener;

/// Processes of which threads have ended and others go on. Further ones are not added up.
const MAX_THREADED: usize = 64 * 1024;

/// The ends of processes.
pub(crate) struct ProcessExits {
    listener: ExitListener,
    threads: HashMap<i32, EndedThreads>,
}

/// The threads of a living process that have ended.
#[derive(Clone, Copy, Default)]
struct EndedThreads {
    counters: Counters,
    /// The name of the first thread, if that is one of them: the name of the process.
    comm: Option<Comm>,
}

/// What a reading brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// Processes that ended.
    pub(crate) exits: u32,
    /// How often the kernel had more to tell than it could keep. Each stands for at least one record.
    pub(crate) overflows: u32,
    /// Processes of which the kernel told that they began and ended between two ticks, and nothing more.
    pub(crate) unseen: u32,
}

impl ProcessExits {
    /// Asks the kernel to tell of every process that ends.
    ///
    /// # Errors
    ///
    /// Why it does not, as a reader of the recording should know it.
    pub(crate) fn open() -> Result<Self, String> {
        let listener = ExitListener::open().map_err(|errno| {
            let reason = match errno {
                Errno::PERM | Errno::ACCESS => "it needs CAP_NET_ADMIN",
                Errno::INVAL => "it tells nothing to a container",
                Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => "it has no taskstats",
                Errno::BADMSG => "its taskstats are of another version than this program knows",
                errno => return format!("the kernel does not tell of processes that end ({errno}): \
                     those that live between two ticks are not seen, and peaks are as of the last reading"),
            };
            format!(
                "the kernel does not tell of processes that end ({reason}): those that live between two \
                 ticks are not seen, and peaks are as of the last reading"
            )
        })?;
        Ok(Self { listener, threads: HashMap::new() })
    }

    /// Passes on the processes that have ended since the last call, with what all their threads used.
    pub(crate) fn drain(&mut self, mut exited: impl FnMut(TaskExit)) -> Drained {
        let Self { listener, threads } = self;
        let mut exits = 0;
        let overflows = listener.drain(|task| {
            // A kernel thread has no memory.
            if task.hwm.0 == 0 {
                return;
            }
            if task.is_last {
                let EndedThreads { counters, comm } = threads.remove(&task.pid).unwrap_or_default();
                exits += 1;
                let counters = task.counters.plus(counters);
                exited(TaskExit { counters, comm: comm.unwrap_or(task.comm), ..task });
            } else if threads.len() < MAX_THREADED || threads.contains_key(&task.pid) {
                let ended = threads.entry(task.pid).or_default();
                ended.counters = ended.counters.plus(task.counters);
                if task.tid == task.pid {
                    ended.comm = Some(task.comm);
                }
            }
        });
        Drained { exits, overflows, unseen: 0 }
    }
}
