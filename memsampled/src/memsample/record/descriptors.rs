//! The limit of open files of what samples this machine.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of anything but processes: standard streams, files being written, timers, and 256 for
/// control groups.
const OTHERS: u64 = 320;
/// One each for `statm`, `status` and `stat`.
const PER_PROCESS: u64 = 3;
/// Growth of the number of processes, as a factor, before files must be reopened for each reading.
const GROWTH: u64 = 4;

/// The limit of open files of this program, raised as far as necessary and allowed.
pub(crate) struct DescriptorLimit {
    /// Files that may be open; `None` if the kernel did not tell, and then nothing is raised.
    limits: Option<SoftLimits>,
}

struct SoftLimits {
    original: u64,
    raised: u64,
    hard: u64,
}

impl SoftLimits {
    fn set(&self, soft: u64) -> nix::Result<()> {
        setrlimit(Resource::RLIMIT_NOFILE, soft, self.hard)
    }
}

impl DescriptorLimit {
    /// Raises the soft limit to what the processes below `proc` need, within the hard limit.
    pub(crate) fn raise(proc: &Path) -> Self {
        let Ok((original, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
            return Self { limits: None };
        };
        let entries = fs::read_dir(proc).map_or(0, |entries| entries.count() as u64);
        let wanted = (entries * GROWTH * PER_PROCESS + OTHERS).max(1024);
        let mut limits = SoftLimits { original, raised: original.max(wanted.min(hard)), hard };
        if limits.set(limits.raised).is_err() {
            limits.raised = original;
        }
        Self { limits: Some(limits) }
    }

    /// Returns how many descriptors the sampler may keep: none where the limit is not known.
    pub(crate) fn for_sampler(&self) -> usize {
        let limit = self.limits.as_ref().map_or(0, |limits| limits.raised);
        usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
    }

    /// Calls `start` with the original limit, which the program that it starts inherits.
    ///
    /// Otherwise a program that expects no descriptor above 1023 would break. Open descriptors stay open.
    /// If the sampler finds a new process meanwhile, it tries again at the next tick.
    pub(crate) fn with_original<T>(&self, start: impl FnOnce() -> T) -> T {
        let set = |soft: fn(&SoftLimits) -> u64| {
            let _ = self.limits.as_ref().map(|limits| limits.set(soft(limits)));
        };
        set(|limits| limits.original);
        let started = start();
        set(|limits| limits.raised);
        started
    }
}
