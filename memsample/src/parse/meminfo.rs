//! `/proc/meminfo`: the memory of the machine.

use serde::{Deserialize, Serialize};

use super::scan::{KeyValues, kibibytes};
use crate::error::ParseError;
use crate::units::Kibibytes;

macro_rules! meminfo {
    ($($(#[$doc:meta])* $field:ident = $key:literal),* $(,)?) => {
        /// The memory of the machine, from `/proc/meminfo`.
        ///
        /// A line that this kernel does not print is `None`. "kB" there means KiB.
        /// Kernel source: `meminfo_proc_show` in `fs/proc/meminfo.c`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Meminfo {
            $($(#[$doc])* pub $field: Option<Kibibytes>,)*
        }

        /// Parses the contents of `/proc/meminfo`.
        ///
        /// # Errors
        ///
        /// [`ParseError`] names a known line whose value is not a number, or `MemTotal` where the
        /// bytes hold none and so are not a `meminfo` file.
        pub fn parse_meminfo(bytes: &[u8]) -> Result<Meminfo, ParseError> {
            let mut meminfo = Meminfo::default();
            for (key, value) in KeyValues::new(bytes) {
                // Compared as strings: a match on byte strings is a chain of comparisons anyway.
                match std::str::from_utf8(key) {
                    $(Ok($key) => meminfo.$field = Some(kibibytes(value, $key)?),)*
                    _ => {}
                }
            }
            if meminfo.mem_total.is_none() {
                return Err(ParseError::missing("MemTotal"));
            }
            Ok(meminfo)
        }
    };
}

meminfo! {
    /// All memory that the kernel manages.
    mem_total = "MemTotal",
    /// Memory in no use at all.
    mem_free = "MemFree",
    /// The kernel's estimate of what a new program could take without swapping (since 3.14).
    mem_available = "MemAvailable",
    /// Cache of block devices.
    buffers = "Buffers",
    /// Page cache, with shared memory, without the swap cache.
    cached = "Cached",
    /// Pages in memory whose copy in swap is still valid.
    swap_cached = "SwapCached",
    /// Recently used pages.
    active = "Active",
    /// Pages that would be reclaimed first.
    inactive = "Inactive",
    /// Anonymous pages that processes map.
    anon_pages = "AnonPages",
    /// Pages of files that processes map.
    mapped = "Mapped",
    /// Shared memory and tmpfs.
    shmem = "Shmem",
    /// Kernel objects that can be reclaimed.
    slab_reclaimable = "SReclaimable",
    /// Kernel objects that cannot.
    slab_unreclaimable = "SUnreclaim",
    /// Stacks of all threads in the kernel.
    kernel_stack = "KernelStack",
    /// Page tables.
    page_tables = "PageTables",
    /// Pages that wait to be written to disk.
    dirty = "Dirty",
    /// Pages that are being written to disk.
    writeback = "Writeback",
    /// All swap space.
    swap_total = "SwapTotal",
    /// Swap space in no use.
    swap_free = "SwapFree",
    /// Memory promised to processes, used or not.
    committed = "Committed_AS",
}

impl Meminfo {
    /// Returns the memory that processes map, in bytes: anonymous pages, and those of files and shared
    /// memory. `None` where this kernel does not say.
    #[must_use]
    pub fn mapped_bytes(&self) -> Option<u64> {
        self.anon_pages?.bytes()?.checked_add(self.mapped?.bytes()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_lines_are_none() {
        let meminfo = parse_meminfo(
            b"MemTotal:       24689228 kB\nMemFree:  5 kB\nHugePages_Total:       0\n",
        );
        let meminfo = meminfo.unwrap();
        assert_eq!(meminfo.mem_total, Some(Kibibytes(24_689_228)));
        assert_eq!(meminfo.mem_available, None);
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(parse_meminfo(b"\xff\xfe: 1"), Err(ParseError::missing("MemTotal")));
        assert!(parse_meminfo(b"MemTotal: many kB").is_err());
    }
}
