//! The PSS of a test, or why it is not known. The definitions are in `docs/peaks.md`.

use std::fmt;

use jiff::Timestamp;

use super::bound::Bound;

/// Of the resident memory at a tick as many parts of a hundred must have been read, and the resident memory then must
/// be as many parts of that at the peak. It is the error of a PSS that is told, too.
const MIN_COVERED_PERCENT: u64 = 95;

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

/// Why there is no peak of the sum of proportional sets. As text it is what follows `-: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PssMissing {
    /// None of its processes was sampled.
    NotSampled,
    /// None of its processes was read for it.
    NotRead,
    /// There is no instant at which 95 % of the resident memory had been read.
    NeverWhole,
    /// Processes began or ended while others were read, so that memory that they shared is in two readings or in none.
    Changed,
    /// It was read up to this sum of resident sets only, in bytes.
    ReadUpTo(u64),
}

impl fmt::Display for PssMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSampled => {
                f.write_str("none of its processes lived long enough to be sampled")
            }
            Self::NotRead => f.write_str("none of its processes was read for it before it ended"),
            Self::NeverWhole => f.write_str("it was never read of 95 % of the RSS at one instant"),
            Self::Changed => {
                f.write_str("processes that shared memory began or ended while it was read")
            }
            Self::ReadUpTo(bytes) => {
                let mebibytes = *bytes as f64 / f64::from(1 << 20);
                write!(f, "it was read up to an RSS of {mebibytes:.1} MiB only")
            }
        }
    }
}

/// Returns whether at most 5 % of the whole are missing.
pub(super) fn is_nearly(bytes: u64, whole_bytes: u64) -> bool {
    whole_bytes > 0
        && u128::from(bytes) * 100 >= u128::from(whole_bytes) * u128::from(MIN_COVERED_PERCENT)
}
