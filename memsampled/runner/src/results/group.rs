//! What the control group of an attempt had, as the kernel accounts for it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::memory::BoundedBytes;

/// What the control group of an attempt had, its setup and cleanup included: also memory that no process maps, such as
/// files in tmpfs, memfds, System V segments, page cache, and what the kernel took for it.
///
/// Looked at ten times a second. `None` is what was not measured, and never 0; of an upper bound it means that nothing
/// bounds the value. What is swapped out is not in it, and neither are huge pages of the reserved pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupUse {
    /// The most that was charged to it at once, in bytes: the high-water mark of the kernel, or the most at a look where
    /// the kernel has none. It charges 64 pages at a time for each CPU.
    pub group_peak_bytes: Option<u64>,
    /// Upper bound of [`group_peak_bytes`](Self::group_peak_bytes).
    pub group_peak_bytes_upper: Option<u64>,
    /// The most shared memory at a look, in bytes, mapped or not: tmpfs, memfd, System V, shared anonymous.
    pub shmem_peak_bytes: Option<u64>,
    /// Upper bound of [`shmem_peak_bytes`](Self::shmem_peak_bytes): that of all its memory.
    pub shmem_peak_bytes_upper: Option<u64>,
    /// When that was.
    pub shmem_peak_at: Option<Timestamp>,
    /// The most shared memory at a look that no process mapped, in bytes, as a lower bound: no resident set has it.
    pub shmem_unmapped_peak_bytes: Option<u64>,
    /// The most that was charged to it at a look, in bytes, which is what the following are the parts of.
    pub group_largest_bytes: Option<u64>,
    /// When that was.
    pub group_largest_at: Option<Timestamp>,
    /// Anonymous memory then.
    pub group_anon_bytes: Option<u64>,
    /// Page cache then, with shared memory.
    pub group_file_bytes: Option<u64>,
    /// Of that, shared memory.
    pub group_shmem_bytes: Option<u64>,
    /// What the kernel took for it then: stacks, page tables, slab.
    pub group_kernel_bytes: Option<u64>,
    /// Buffers of network sockets then.
    pub group_sock_bytes: Option<u64>,
    /// CPU time of all in the group while the program ran, in nanoseconds: what a limit of CPU time is compared with.
    pub group_cpu_ns: Option<u64>,
    /// How often its memory was looked at.
    pub group_samples: u64,
}

impl GroupUse {
    /// Returns the most that was charged to it.
    #[must_use]
    pub fn group_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.group_peak_bytes, self.group_peak_bytes_upper)
    }

    /// Returns the most shared memory.
    #[must_use]
    pub fn shmem_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.shmem_peak_bytes, self.shmem_peak_bytes_upper)
    }
}
