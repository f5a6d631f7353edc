//! The constants of the machine whose `/proc` is read.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroU64;

use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use crate::units::{ClockTicks, Pages};

/// What a file says of CPUs, at most: `/proc/stat` has a long line about interrupts.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The type of the file system of `/sys`.
const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;

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

/// Returns how many CPUs are online, whichever of them this program may use: on each, the kernel counts memory for itself
/// before it adds that up. `None` where the kernel does not tell.
///
/// LXCFS shows a container its own CPUs in place of those of the kernel. Then they are at most those that are possible.
#[must_use]
pub fn cpus_online() -> Option<usize> {
    let of_the_kernel = |path: &str, file_system| {
        let file = File::open(path).ok()?;
        let is_its_own = fstatfs(&file).ok()?.f_type == file_system;
        std::io::read_to_string(file.take(MAX_TEXT_BYTES)).ok().filter(|_| is_its_own)
    };
    let listed = |name: &str| {
        let path = format!("/sys/devices/system/cpu/{name}");
        count_listed(&of_the_kernel(&path, SYSFS_MAGIC)?)
    };
    // Without /sys, each has a line here.
    let counted = || {
        let text = of_the_kernel("/proc/stat", PROC_SUPER_MAGIC)?;
        Some(count_lines(&text)).filter(|&count| count > 0)
    };
    listed("online").or_else(counted).or_else(|| listed("possible"))
}

/// Counts the CPUs in a list such as `0-3,6`.
fn count_listed(list: &str) -> Option<usize> {
    list.trim_end().split(',').try_fold(0_usize, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Counts the CPUs in `/proc/stat`.
fn count_lines(stat: &str) -> usize {
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stat.lines().filter(is_cpu).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_where_the_kernel_names_them() {
        assert_eq!(count_listed("0-3,6\n"), Some(5));
        assert_eq!((count_listed("0\n"), count_listed("")), (Some(1), None));
        assert_eq!((count_listed("3-1"), count_listed("0-x")), (None, None));
        assert_eq!(count_lines("cpu  1 2\ncpu0 1 2\ncpu11 1 2\nintr 5\n"), 2);
        let usable = std::thread::available_parallelism().unwrap().get();
        assert!(cpus_online().is_none_or(|online| online >= usable));
    }

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
