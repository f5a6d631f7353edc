//! The constants of the machine whose `/proc` is read.

use std::num::NonZeroU64;

use crate::units::{ClockTicks, Pages};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The constants that turn kernel units into bytes and nanoseconds.
///
/// They belong to the machine that produced the numbers, so they are passed in rather than asked
/// for, and a captured `/proc` tree can be read on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Bytes in one page: 4096 on x86-64, up to 65536 elsewhere.
    pub page_bytes: NonZeroU64,
    /// Clock ticks in one second (`USER_HZ`): 100 on every common architecture.
    pub ticks_per_second: NonZeroU64,
}

impl Host {
    /// Returns the constants of the machine this program runs on, from the auxiliary vector.
    #[must_use]
    pub fn current() -> Self {
        let nonzero = |value: u64| NonZeroU64::new(value).unwrap_or(NonZeroU64::MIN);
        Self {
            page_bytes: nonzero(rustix::param::page_size() as u64),
            ticks_per_second: nonzero(rustix::param::clock_ticks_per_second()),
        }
    }

    /// Returns `pages` in bytes, or `None` where the product does not fit in 64 bits.
    #[must_use]
    pub fn bytes(&self, pages: Pages) -> Option<u64> {
        pages.0.checked_mul(self.page_bytes.get())
    }

    /// Returns `ticks` in nanoseconds, or `None` where the product does not fit in 64 bits.
    ///
    /// The resolution is that of the tick: 10 ms at 100 ticks a second.
    #[must_use]
    pub fn nanos(&self, ticks: ClockTicks) -> Option<u64> {
        // Division first would lose precision when the rate does not divide a second.
        let nanos = u128::from(ticks.0) * u128::from(NANOS_PER_SECOND)
            / u128::from(self.ticks_per_second.get());
        u64::try_from(nanos).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_none_and_not_a_wrapped_number() {
        let host = Host {
            page_bytes: NonZeroU64::new(4096).unwrap(),
            ticks_per_second: NonZeroU64::new(100).unwrap(),
        };
        assert_eq!(host.bytes(Pages(3)), Some(12_288));
        assert_eq!(host.bytes(Pages(u64::MAX)), None);
        assert_eq!(host.nanos(ClockTicks(250)), Some(2_500_000_000));
        assert_eq!(host.nanos(ClockTicks(u64::MAX)), None);
    }
}
