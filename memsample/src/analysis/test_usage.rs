//! What a test used, and the peaks of its sums. The definitions are in `docs/peaks.md`.

use jiff::Timestamp;

use super::bound::Bound;
use super::test_pss::{PssMissing, PssPeak, is_nearly};

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
    /// Why there is none; `None` where there is one.
    pub pss_missing: Option<PssMissing>,
    /// The largest sum of the proportional sets that were read at one tick, whatever was not read then: a lower
    /// bound. `None` where none was read.
    pub pss_read: Option<SumPeak>,
    /// The largest sum of resident sets of which at least 95 % was read for PSS, in bytes; 0 where there is none.
    pub pss_read_rss_bytes: u64,
    /// The largest sum of huge pages of the reserved pool at one tick, in bytes: a lower bound, in which a page that
    /// several processes map counts for each. `None` where they were not read.
    pub hugetlb_bytes: Option<u64>,
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

/// Returns the peak of the sum of proportional sets of a test over all its attempts, or why there is none. It is the
/// largest of the attempts, if nearly all of the largest of their resident sets was read.
///
/// # Errors
///
/// It is not known. `None` if there is no attempt.
pub fn pss_of_attempts(attempts: &[&TestUsage]) -> Option<Result<PssPeak, PssMissing>> {
    let rss_bytes = |usage: &&TestUsage| usage.rss.map_or(0, |rss| rss.lower.bytes);
    let largest = attempts.iter().copied().max_by_key(rss_bytes)?;
    let read_bytes = attempts.iter().map(|usage| usage.pss_read_rss_bytes).max().unwrap_or(0);
    let known = attempts.iter().filter_map(|usage| usage.pss).max_by_key(|pss| pss.bytes);
    Some(match known {
        Some(pss) if is_nearly(read_bytes, rss_bytes(&largest)) => Ok(pss),
        _ => Err(largest.pss_missing.unwrap_or(PssMissing::ReadUpTo(read_bytes))),
    })
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
