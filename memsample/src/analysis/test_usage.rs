//! What a test used, and the peaks of its sums. The definitions are in `docs/peaks.md`.

use jiff::Timestamp;

use super::bound::Bound;

/// What the processes of a test used together: those that have its name in `processes.test`, or that
/// descend from the `memsample exec` that ran it.
///
/// A test that ran several times, by its marks, has one for each time.
#[derive(Clone, Debug, PartialEq)]
pub struct TestUsage {
    /// The test.
    pub test: String,
    /// The name of the mark that began it; `None` where there is none.
    pub mark: Option<String>,
    /// When it began: its mark, or else the first that was seen of its processes.
    pub begin: Timestamp,
    /// When it ended: its mark, or else the last that was seen of its processes.
    pub end: Timestamp,
    /// The peak of the sum of resident sets; `None` where nothing is known of any process.
    pub rss: Option<SumPeak>,
    /// The peak of the sum of resident anonymous memory; `None` where nothing was sampled.
    pub anon: Option<SumPeak>,
    /// The peak of the sum of proportional sets, of those that were read at the same tick; `None` where
    /// none was read.
    pub pss: Option<SumPeak>,
    /// The slope of anonymous memory by least squares, in bytes a minute; `None` where the samples span
    /// less than ten seconds.
    pub growth_bytes_per_minute: Option<i64>,
    /// By role, largest first.
    pub roles: Vec<TestRole>,
    /// Processes, of which each may be several process images.
    pub processes: u64,
    /// Of these, those that are known only by their exit record.
    pub unsampled: u64,
    /// Process images of which no upper bound is known, so that there is none of their sum.
    pub unbounded_images: u64,
    /// Rows of samples.
    pub samples: u64,
    /// Planned instants between its begin and its end at which no sweep began, or too late.
    pub gaps: u64,
    /// CPU time of all its processes in nanoseconds, as far as it was read; `None` where it was of none.
    pub cpu_ns: Option<u64>,
    /// Page faults without I/O; the same holds.
    pub minflt: Option<u64>,
    /// Page faults with I/O; the same holds.
    pub majflt: Option<u64>,
}

/// What the processes of one role used together within a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRole {
    /// What they do.
    pub role: String,
    /// The peak of the sum of their resident sets.
    pub rss: SumPeak,
    /// How many processes that were.
    pub processes: u64,
}

/// The largest sum at one instant.
///
/// Memory that processes share counts once for each of them, but in proportional sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumPeak {
    /// It was not smaller.
    pub lower: Bound,
    /// It was not larger; `None` where that is not known of all members.
    pub upper: Option<Bound>,
    /// The tick with the largest sum, or when the process had its peak that alone was larger.
    pub by: Timestamp,
}
