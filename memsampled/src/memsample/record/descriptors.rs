//! The limit of open files of `memsample record`.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of anything but processes: standard streams, files being written, timers, and 256 for
/// control groups.
const OTHERS: u64 = 320;
/// One each for `statm`, `status` and `stat`.
const PER_PROCESS: u64 = 3;
/// Growth of the number of processes, as a factor, before files must be reopened for each reading.
const GROWTH: u64 = 4;

/// The limit of open files of this program, raised as far as necessary and allowed.
pub(super) struct DescriptorLimit {
    original: Rlimit,
    raised: Rlimit,
}

impl DescriptorLimit {
    /// Raises the soft limit to what the processes below `proc` need, within the hard limit.
    pub(super) fn raise(proc: &Path) -> Self {
        let original = getrlimit(Resource::Nofile);
        let entries = fs::read_dir(proc).map_or(0, |entries| entries.count() as u64);
        let wanted = (entries * GROWTH * PER_PROCESS + OTHERS).max(1024);
        let soft = original.current.unwrap_or(u64::MAX);
        let allowed = wanted.min(original.maximum.unwrap_or(u64::MAX));
        let raised = Rlimit { current: Some(soft.max(allowed)), maximum: original.maximum };
        let raised = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => raised,
            Err(_) => original,
        };
        Self { original, raised }
    }

    /// Returns how many descriptors the sampler may keep.
    pub(super) fn for_sampler(&self) -> usize {
        let limit = self.raised.current.unwrap_or(u64::MAX).saturating_sub(OTHERS);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// Calls `start` with the original limit, which the program that it starts inherits.
    ///
    /// Otherwise a program that expects no descriptor above 1023 would break. Open descriptors stay open.
    /// If the sampler finds a new process meanwhile, it tries again at the next tick.
    pub(super) fn with_original<T>(&self, start: impl FnOnce() -> T) -> T {
        let _ = setrlimit(Resource::Nofile, self.original);
        let started = start();
        let _ = setrlimit(Resource::Nofile, self.raised);
        started
    }
}
