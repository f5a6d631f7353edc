//! The memory that an attempt used, from the recording.

use serde::{Deserialize, Serialize};

use jiff::Timestamp;

/// The memory that the processes of an attempt used together. A peak is the largest sum at one instant.
///
/// The true value is between a number and the one that ends in `_upper`. `None` is what was not measured, and never 0;
/// of an upper bound it means that nothing bounds the value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Peak of resident sets, in bytes: shared pages count once for each process.
    pub rss_peak_bytes: Option<u64>,
    /// Upper bound of [`rss_peak_bytes`](Self::rss_peak_bytes).
    pub rss_peak_bytes_upper: Option<u64>,
    /// When that peak was.
    pub rss_peak_at: Option<Timestamp>,
    /// Peak of proportional sets, in bytes, as far as ticks tell at which at least 95 % of the resident memory was read;
    /// `None` where there is none near the peak of resident sets.
    pub pss_peak_bytes: Option<u64>,
    /// Upper bound of [`pss_peak_bytes`](Self::pss_peak_bytes).
    pub pss_peak_bytes_upper: Option<u64>,
    /// When that peak was.
    pub pss_peak_at: Option<Timestamp>,
    /// Resident sets at that instant, in bytes.
    pub pss_peak_rss_bytes: Option<u64>,
    /// The part of these for which PSS was read, in bytes.
    pub pss_peak_covered_bytes: Option<u64>,
    /// How long before that instant the oldest of these readings was, in milliseconds.
    pub pss_peak_age_ms: Option<u64>,
    /// For people: why there is no peak of proportional sets; `None` where there is one.
    pub pss_missing: Option<String>,
    /// Peak of anonymous memory, in bytes.
    pub anon_peak_bytes: Option<u64>,
    /// Upper bound of [`anon_peak_bytes`](Self::anon_peak_bytes).
    pub anon_peak_bytes_upper: Option<u64>,
    /// When that peak was.
    pub anon_peak_at: Option<Timestamp>,
    /// The largest sum of huge pages of the reserved pool at one tick, in bytes: a lower bound, which no other number here
    /// has in it.
    pub hugetlb_peak_bytes: Option<u64>,
    /// Growth of anonymous memory in bytes a minute; `None` where the test was too short to tell.
    pub growth_bytes_per_minute: Option<i64>,
    /// Processes that belonged to it.
    pub processes: u64,
    /// Of these, the processes of which only an exit record is known.
    pub unsampled_processes: u64,
    /// Process images of which no upper bound is known: a single one leaves the sums without an upper bound.
    pub unbounded_images: u64,
    /// The command name of the largest of these.
    pub unbounded_image: Option<String>,
    /// The resident set that it had at least, in bytes.
    pub unbounded_image_bytes: Option<u64>,
    /// Processes that may belong to it and of which that is not known, and reports of the kernel about processes that
    /// were lost meanwhile: a single one leaves the sums without an upper bound.
    pub unattributed_processes: u64,
    /// Rows of samples.
    pub samples: u64,
    /// Ticks at which nothing was sampled, or too late.
    pub gaps: u64,
    /// CPU time of all its processes, in nanoseconds, as far as it was read; `None` where it was read of none.
    pub cpu_ns: Option<u64>,
    /// Page faults without I/O; as `cpu_ns`.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O; as `cpu_ns`.
    pub major_faults: Option<u64>,
}

impl Memory {
    /// Returns the peak of resident sets.
    #[must_use]
    pub fn rss_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.rss_peak_bytes, self.rss_peak_bytes_upper)
    }

    /// Returns the peak of anonymous memory.
    #[must_use]
    pub fn anon_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.anon_peak_bytes, self.anon_peak_bytes_upper)
    }
}

/// The memory that the processes of one role used together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleMemory {
    /// The role.
    pub role: String,
    /// Peak of their resident sets, in bytes.
    pub rss_peak_bytes: u64,
    /// Upper bound of [`rss_peak_bytes`](Self::rss_peak_bytes).
    pub rss_peak_bytes_upper: Option<u64>,
    /// How many processes had the role.
    pub processes: u64,
}

impl RoleMemory {
    /// Returns the peak of resident sets.
    #[must_use]
    pub fn rss_peak(&self) -> BoundedBytes {
        BoundedBytes { lower: self.rss_peak_bytes, upper: self.rss_peak_bytes_upper }
    }
}

/// A number of bytes that is known within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundedBytes {
    /// It was this at least.
    pub lower: u64,
    /// It was this at most; `None` where nothing bounds it.
    pub upper: Option<u64>,
}

impl BoundedBytes {
    /// Returns the number with these bounds; `None` where it was not measured.
    pub(crate) fn of(lower: Option<u64>, upper: Option<u64>) -> Option<Self> {
        lower.map(|lower| Self { lower, upper })
    }
}
