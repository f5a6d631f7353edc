//! What a test used, and the peaks of its sums. The definitions are in `docs/peaks.md`.

use jiff::Timestamp;

use super::bound::Bound;

/// What the processes of one attempt of a test used together: those with its name in `processes.test`, or
/// the descendants of the `memsample exec` that ran it.
///
/// The marks of a test separate its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct TestUsage {
    /// The test.
    pub test: String,
    /// The name of the mark that began it; `None` where there is none.
    pub mark: Option<String>,
    /// The time of the mark at its begin, or else of the first sample of its processes.
    pub begin: Timestamp,
    /// The time of the mark at its end, or else of the last sample of its processes.
    pub end: Timestamp,
    /// The peak of the sum of resident sets; `None` where none is known.
    pub rss: Option<SumPeak>,
    /// The peak of the sum of resident anonymous memory; `None` where no process was sampled.
    pub anon: Option<SumPeak>,
    /// The peak of the sum of proportional sets; `None` where too little was read at the peak of the resident sets.
    pub pss: Option<PssPeak>,
    /// The largest sum of the proportional sets that were read at one tick, whatever was not read then: a lower
    /// bound. `None` where none was read.
    pub pss_read: Option<SumPeak>,
    /// The largest sum of resident sets of which at least 95 % was read for PSS, in bytes; 0 where there is none.
    pub pss_read_rss_bytes: u64,
    /// The slope of anonymous memory by least squares, in bytes per minute; `None` for fewer than 240
    /// samples, or if they span less than twenty seconds.
    pub growth_bytes_per_minute: Option<i64>,
    /// By role, largest first.
    pub roles: Vec<TestRole>,
    /// The number of processes. A process may have several process images.
    pub processes: u64,
    /// The number of those that are known only by their exit record.
    pub unsampled: u64,
    /// The number of process images without an upper bound, of which one leaves the sum without one.
    pub unbounded_images: u64,
    /// The largest of these; `None` where there is none.
    pub unbounded_image: Option<UnboundedImage>,
    /// The number of processes that may belong to it and of which that is not known, and of reports of the kernel about
    /// processes that were lost while it ran. One leaves the sums without an upper bound.
    pub unattributed: u64,
    /// The number of samples.
    pub samples: u64,
    /// The number of ticks between its begin and its end that were late or missed.
    pub gaps: u64,
    /// CPU time of all its processes that were read, in nanoseconds; `None` if none was.
    pub cpu_ns: Option<u64>,
    /// Page faults without I/O; likewise.
    pub minflt: Option<u64>,
    /// Page faults with I/O; likewise.
    pub majflt: Option<u64>,
}

/// A process image whose peak nothing bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnboundedImage {
    /// Its command name; of an image that was never seen, that of the one after it.
    pub comm: String,
    /// The resident set that it had at least, in bytes; 0 of one that was never seen.
    pub bytes: u64,
}

/// What the processes of one role used together within a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRole {
    /// The role.
    pub role: String,
    /// The peak of the sum of their resident sets.
    pub rss: SumPeak,
    /// The number of these processes.
    pub processes: u64,
}

/// The largest sum of proportional sets, of which at least 95 % of the resident memory was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssPeak {
    /// The sum, in bytes. It lacks at most what was not read: see `covered_bytes`.
    pub bytes: u64,
    /// What it cannot have been larger than: that of the resident sets.
    pub upper: Option<Bound>,
    /// The tick.
    pub at: Timestamp,
    /// The sum of resident sets at that tick, in bytes.
    pub rss_bytes: u64,
    /// The part of `rss_bytes` that the readings stand for.
    pub covered_bytes: u64,
    /// The age of the oldest reading at that tick, in milliseconds.
    pub age_ms: u64,
}

/// The largest sum at one instant.
///
/// Shared memory counts once for each process that shares it, except in proportional sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumPeak {
    /// The lower bound.
    pub lower: Bound,
    /// The upper bound; `None` where it is not known for every member.
    pub upper: Option<Bound>,
    /// The tick with the largest sum; if a single process had a higher peak, the latest possible time of it.
    pub by: Timestamp,
}
