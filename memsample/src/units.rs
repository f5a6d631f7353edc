//! The units in which the kernel counts, as types, so that a wrong conversion does not compile.
//!
//! A value keeps the unit in which it was read until [`Host`](crate::Host) turns it into bytes or
//! nanoseconds, because only the host knows its page size and its clock ticks.

use serde::{Deserialize, Serialize};

/// A number of memory pages, as counted by `statm` and by `rss` in `stat`.
///
/// Convert with [`Host::bytes`](crate::Host::bytes).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Pages(pub u64);

/// Kernel clock ticks, as counted by `utime`, `stime` and `starttime` in `stat`.
///
/// Convert with [`Host::nanos`](crate::Host::nanos).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ClockTicks(pub u64);

/// The steps in which `stat` tells when a process began, at most: a clock tick where there are 100 a second.
pub(crate) const START_STEP_NS: u64 = 10_000_000;

/// Units of 1024 bytes, which the kernel prints as `kB` in `status`, `meminfo` and `smaps_rollup`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Kibibytes(pub u64);

impl Kibibytes {
    /// Returns the value in bytes, or `None` where it does not fit in 64 bits.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(1024)
    }
}
