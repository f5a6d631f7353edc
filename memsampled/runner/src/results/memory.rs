//! The memory that an attempt used, from the recording.

use jiff::Timestamp;
use memsample::analysis::{SumPeak, TestRole, TestUsage};
use serde::{Deserialize, Serialize};

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

impl From<&TestUsage> for Memory {
    fn from(usage: &TestUsage) -> Self {
        let lower = |peak: Option<SumPeak>| peak.map(|peak| peak.lower.bytes);
        let upper = |peak: Option<SumPeak>| Some(peak?.upper?.bytes);
        let at = |peak: Option<SumPeak>| peak.map(|peak| peak.by);
        let pss = usage.pss;
        let unbounded = usage.unbounded_image.as_ref();
        Self {
            rss_peak_bytes: lower(usage.rss),
            rss_peak_bytes_upper: upper(usage.rss),
            rss_peak_at: at(usage.rss),
            pss_peak_bytes: pss.map(|pss| pss.bytes),
            pss_peak_bytes_upper: pss.and_then(|pss| pss.upper).map(|upper| upper.bytes),
            pss_peak_at: pss.map(|pss| pss.at),
            pss_peak_rss_bytes: pss.map(|pss| pss.rss_bytes),
            pss_peak_covered_bytes: pss.map(|pss| pss.covered_bytes),
            pss_peak_age_ms: pss.map(|pss| pss.age_ms),
            pss_missing: usage.pss_missing.map(|reason| reason.to_string()),
            anon_peak_bytes: lower(usage.anon),
            anon_peak_bytes_upper: upper(usage.anon),
            anon_peak_at: at(usage.anon),
            hugetlb_peak_bytes: usage.hugetlb_bytes,
            growth_bytes_per_minute: usage.growth_bytes_per_minute,
            processes: usage.processes,
            unsampled_processes: usage.unsampled,
            unbounded_images: usage.unbounded_images,
            unbounded_image: unbounded.map(|image| image.comm.clone()),
            unbounded_image_bytes: unbounded.map(|image| image.bytes),
            unattributed_processes: usage.unattributed,
            samples: usage.samples,
            gaps: usage.gaps,
            cpu_ns: usage.cpu_ns,
            minor_faults: usage.minflt,
            major_faults: usage.majflt,
        }
    }
}

impl Memory {
    /// Returns the peak of resident sets.
    #[must_use]
    pub fn rss_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.rss_peak_bytes, self.rss_peak_bytes_upper)
    }

    /// Returns the peak of proportional sets.
    #[must_use]
    pub fn pss_peak(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.pss_peak_bytes, self.pss_peak_bytes_upper)
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

impl From<&TestRole> for RoleMemory {
    fn from(role: &TestRole) -> Self {
        Self {
            role: role.role.clone(),
            rss_peak_bytes: role.rss.lower.bytes,
            rss_peak_bytes_upper: role.rss.upper.map(|upper| upper.bytes),
            processes: role.processes,
        }
    }
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
