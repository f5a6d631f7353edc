//! What the kernel tells by itself, where it may be asked: which processes have ended, and how large
//! they were.

mod netlink;
mod taskstats;

use std::collections::HashMap;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use taskstats::{Counters, TaskExit};

use taskstats::ExitListener;

/// Processes of which threads have ended and others go on. Further ones are not added up.
const MAX_THREADED: usize = 64 * 1024;

/// The ends of processes.
pub(crate) struct ProcessExits {
    listener: ExitListener,
    /// What ended threads of living processes have used.
    threads: HashMap<i32, Counters>,
}

/// What a reading brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// Processes that ended.
    pub(crate) exits: u32,
    /// How often the kernel had more to tell than it could keep. Each stands for at least one record.
    pub(crate) overflows: u32,
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
                let others = threads.remove(&task.pid).unwrap_or_default();
                exits += 1;
                exited(TaskExit { counters: task.counters.plus(others), ..task });
            } else if threads.len() < MAX_THREADED || threads.contains_key(&task.pid) {
                let sum = threads.entry(task.pid).or_default();
                *sum = sum.plus(task.counters);
            }
        });
        Drained { exits, overflows }
    }
}
