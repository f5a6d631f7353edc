//! What is measured of a process: the metrics, the file that each comes from, and their values.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

bitflags::bitflags! {
    /// A set of the files of `/proc/[pid]` that a sweep reads, cheapest first.
    ///
    /// Costs are microseconds of CPU for one process on a kept descriptor; see `docs/cost.md`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Files: u16 {
        /// `statm`: resident, shared and virtual size. About 1 us.
        const STATM = 1;
        /// `status`: the kinds of resident memory, swap, high-water mark. About 9 us.
        const STATUS = 2;
        /// `stat`: page faults and CPU times. About 5 us.
        const STAT = 4;
        /// `smaps_rollup`: PSS and USS. About 60 us and 15 us more for each resident MiB.
        const SMAPS_ROLLUP = 8;
        /// `smaps`, of a capture that was imported, as every kernel has it: no sweep reads it.
        const SMAPS = 16;
        /// `smaps` with `Pss`, which the first kernels that have the file lack, as what follows.
        const SMAPS_PSS = 32;
        /// `smaps` with `Swap`.
        const SMAPS_SWAP = 64;
        /// `smaps` with `Anonymous`.
        const SMAPS_ANON = 128;
        /// `smaps` with `SwapPss`: since Linux 4.3.
        const SMAPS_SWAP_PSS = 256;
        /// All that only an imported capture has.
        const IMPORTED = Self::SMAPS.bits() | Self::SMAPS_PSS.bits() | Self::SMAPS_SWAP.bits()
            | Self::SMAPS_ANON.bits() | Self::SMAPS_SWAP_PSS.bits();
        /// `status` and `stat`: what `--detail-interval` asks for.
        const DETAIL = Self::STATUS.bits() | Self::STAT.bits();
    }
}

impl Serialize for Files {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bits().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bits = u16::deserialize(deserializer)?;
        Self::from_bits(bits).ok_or_else(|| serde::de::Error::custom("unknown file"))
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $file:ident;)*) => {
        /// One number of a process at one instant. The names are the columns of `samples`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the columns.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns the name of the column, which ends in the unit.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the file whose reading gives this metric a value.
            #[must_use]
            pub const fn file(self) -> Files {
                match self { $(Self::$variant => Files::$file,)* }
            }
        }
    };
}

metrics! {
    /// Resident set.
    Rss = "rss_bytes", STATM;
    /// Virtual size.
    Vsize = "vsize_bytes", STATM;
    /// Resident pages backed by files or shared memory.
    Shared = "shared_bytes", STATM;
    /// Resident anonymous memory: `rss - shared`.
    Anon = "anon_bytes", STATM;
    /// Private writable memory and stack, resident or not.
    Data = "data_bytes", STATM;
    /// Code of the executable.
    Text = "text_bytes", STATM;
    /// Resident pages of mapped files.
    File = "file_bytes", STATUS;
    /// Resident shared memory.
    Shmem = "shmem_bytes", STATUS;
    /// Swapped-out anonymous memory.
    Swap = "swap_bytes", STATUS;
    /// The largest resident set so far.
    Hwm = "hwm_bytes", STATUS;
    /// Mapped huge pages of the reserved pool, which no resident set counts.
    Hugetlb = "hugetlb_bytes", STATUS;
    /// Page faults without I/O since the process began.
    Minflt = "minflt", STAT;
    /// Page faults with I/O since the process began.
    Majflt = "majflt", STAT;
    /// CPU time in user mode since the process began.
    Utime = "utime_ns", STAT;
    /// CPU time in kernel mode since the process began.
    Stime = "stime_ns", STAT;
    /// Proportional set.
    Pss = "pss_bytes", SMAPS_ROLLUP;
    /// Unique set.
    Uss = "uss_bytes", SMAPS_ROLLUP;
    /// Proportional share of swap.
    SwapPss = "swap_pss_bytes", SMAPS_ROLLUP;
}

impl Metric {
    /// The number of metrics.
    pub const COUNT: usize = Self::ALL.len();
}

impl Metric {
    /// Returns the files of which any gives this metric a value.
    #[must_use]
    pub const fn files(self) -> Files {
        match self {
            // `smaps` knows of the mappings, not of code and data.
            Self::Rss | Self::Vsize => Files::STATM.union(Files::SMAPS),
            Self::Shared | Self::Anon => Files::STATM.union(Files::SMAPS_ANON),
            Self::Swap => Files::STATUS.union(Files::SMAPS_SWAP),
            Self::Uss => Files::SMAPS_ROLLUP.union(Files::SMAPS),
            Self::Pss => Files::SMAPS_ROLLUP.union(Files::SMAPS_PSS),
            Self::SwapPss => Files::SMAPS_ROLLUP.union(Files::SMAPS_SWAP_PSS),
            Self::Data | Self::Text => Files::STATM,
            Self::File | Self::Shmem | Self::Hwm | Self::Hugetlb => Files::STATUS,
            Self::Minflt | Self::Majflt | Self::Utime | Self::Stime => Files::STAT,
        }
    }

    /// Returns whether a row has a value of this metric, from the files that were read for it.
    #[inline]
    #[must_use]
    pub const fn is_in(self, files: Files) -> bool {
        self.files().intersects(files)
    }

    /// Returns whether every row has one: the files of a row hold `statm` or `smaps`.
    #[must_use]
    pub const fn is_in_every_row(self) -> bool {
        self.files().contains(Files::STATM.union(Files::SMAPS))
    }
}

/// The last value read of each metric of one process, in bytes, nanoseconds or events.
///
/// A value means something only where its file has been read; [`Sample`](crate::Sample) knows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metrics([u64; Metric::COUNT]);

impl Metrics {
    /// Returns the last value of `metric`; 0 before the first reading.
    #[inline]
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "the array has one place for each variant")]
    pub const fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize]
    }

    /// Sets the value of `metric` and returns whether that changed it.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the array has one place for each variant")]
    pub fn set(&mut self, metric: Metric, value: u64) -> bool {
        std::mem::replace(&mut self.0[metric as usize], value) != value
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(Metric::ALL.iter().map(|&metric| (metric.name(), self.get(metric))))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stand_at_their_own_index() {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, index);
        }
    }
}
