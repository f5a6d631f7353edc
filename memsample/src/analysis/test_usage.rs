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
    /// The peak of the sum of the proportional sets that were read at the same tick; `None` where none was
    /// read.
    pub pss: Option<SumPeak>,
    /// The slope of anonymous memory by least squares, in bytes per minute; `None` if the samples span less
    /// than ten seconds.
    pub growth_bytes_per_minute: Option<i64>,
    /// By role, largest first.
    pub roles: Vec<TestRole>,
    /// The number of processes. A process may have several process images.
    pub processes: u64,
    /// The number of those that are known only by their exit record.
    pub unsampled: u64,
    /// The number of process images without an upper bound, of which one leaves the sum without one.
    pub unbounded_images: u64,
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
