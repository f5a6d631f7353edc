//! All processes and the machine at one instant.

use std::sync::Arc;

use jiff::Timestamp;
use memsample::parse::Meminfo;
use memsample::units::Kibibytes;

use crate::amount::Amount;

/// All processes and the machine at one instant.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it was.
    pub at: Timestamp,
    /// Ascending by `image`.
    pub processes: Vec<ProcessMemory>,
    /// The memory of the machine.
    pub machine: MachineMemory,
}

/// What a process is, which does not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The process id.
    pub pid: i32,
    /// That of its parent.
    pub ppid: Option<i32>,
    /// The name or the number of its user.
    pub user: String,
    /// The command name.
    pub comm: String,
    /// The arguments with a space between them, or the command name.
    pub command: String,
    /// What it does.
    pub role: String,
    /// Its control group.
    pub cgroup: Option<String>,
    /// The test to which it belongs.
    pub test: Option<String>,
}

/// The memory of a process.
#[derive(Clone, Debug)]
pub struct ProcessMemory {
    /// The number of the process image. It is here since frames are searched for it all the time, and facts are elsewhere.
    pub image: u64,
    /// What it is.
    pub facts: Arc<ProcessFacts>,
    /// The resident set.
    pub rss: Amount,
    /// The proportional set as it was last read.
    pub pss: Amount,
    /// The unique set, of the same reading.
    pub uss: Amount,
    /// The age of that reading in seconds; 0 where there is none.
    pub pss_age_s: u16,
    /// Anonymous memory in swap, as it was last read.
    pub swap: Amount,
    /// The largest resident set so far, as far as it is known.
    pub peak: Amount,
}

/// The memory of a machine, in bytes; `None` where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineMemory {
    /// All that the kernel manages.
    pub total: Option<u64>,
    /// What a new program could take.
    pub available: Option<u64>,
    /// All swap space.
    pub swap_total: Option<u64>,
    /// Swap space in no use.
    pub swap_free: Option<u64>,
    /// The part of the time in which some task waited for memory, and all that were not idle.
    pub pressure: Option<(f64, f64)>,
}

impl MachineMemory {
    /// Takes it from `meminfo`.
    #[must_use]
    pub fn of(meminfo: &Meminfo, pressure: Option<(f64, f64)>) -> Self {
        let bytes = |kib: Option<Kibibytes>| kib.and_then(Kibibytes::bytes);
        Self {
            total: bytes(meminfo.mem_total),
            available: bytes(meminfo.mem_available),
            swap_total: bytes(meminfo.swap_total),
            swap_free: bytes(meminfo.swap_free),
            pressure,
        }
    }
}

impl Frame {
    /// Returns the process with an image.
    #[must_use]
    pub fn process(&self, image: u64) -> Option<&ProcessMemory> {
        let index = self.processes.binary_search_by_key(&image, |it| it.image).ok()?;
        self.processes.get(index)
    }
}
