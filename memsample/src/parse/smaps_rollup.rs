//! `/proc/[pid]/smaps_rollup`: PSS and USS.

use super::scan::{KeyValues, kibibytes};
use crate::error::ParseError;
use crate::units::Kibibytes;

/// The sums over all mappings of a process, from `/proc/[pid]/smaps_rollup` (since Linux 4.14).
///
/// Exact at the instant of the read, because the kernel walks the page tables for it: about 15 us
/// for each resident MiB, with the memory map of the target locked against changes meanwhile.
/// Kernel source: `show_smaps_rollup` in `fs/proc/task_mmu.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmapsRollup {
    /// Resident set.
    pub rss: Kibibytes,
    /// Proportional set: each page divided by the number of processes that map it.
    pub pss: Kibibytes,
    /// `Private_Clean`: resident pages that only this process maps, unchanged since read from disk.
    pub private_clean: Kibibytes,
    /// `Private_Dirty`: resident pages that only this process maps, changed.
    pub private_dirty: Kibibytes,
    /// `SwapPss`: swapped-out memory, each page divided by its users (since Linux 4.3).
    pub swap_pss: Option<Kibibytes>,
}

impl SmapsRollup {
    /// Returns the unique set: what would be freed if the process ended now.
    ///
    /// `None` where the sum does not fit in 64 bits.
    #[must_use]
    pub const fn uss(&self) -> Option<Kibibytes> {
        match self.private_clean.0.checked_add(self.private_dirty.0) {
            Some(sum) => Some(Kibibytes(sum)),
            None => None,
        }
    }
}

/// Parses the contents of `/proc/[pid]/smaps_rollup`.
///
/// # Errors
///
/// [`ParseError`] names a line that is absent or is not a number.
pub fn parse_smaps_rollup(bytes: &[u8]) -> Result<SmapsRollup, ParseError> {
    let mut rss = None;
    let mut pss = None;
    let mut private_clean = None;
    let mut private_dirty = None;
    let mut swap_pss = None;
    // The first line is an address range; its `:` belongs to a device number and matches no key.
    for (key, value) in KeyValues::new(bytes) {
        match key {
            b"Rss" => rss = Some(kibibytes(value, "Rss")?),
            b"Pss" => pss = Some(kibibytes(value, "Pss")?),
            b"Private_Clean" => private_clean = Some(kibibytes(value, "Private_Clean")?),
            b"Private_Dirty" => private_dirty = Some(kibibytes(value, "Private_Dirty")?),
            b"SwapPss" => swap_pss = Some(kibibytes(value, "SwapPss")?),
            _ => {}
        }
    }
    Ok(SmapsRollup {
        rss: rss.ok_or(ParseError::missing("Rss"))?,
        pss: pss.ok_or(ParseError::missing("Pss"))?,
        private_clean: private_clean.ok_or(ParseError::missing("Private_Clean"))?,
        private_dirty: private_dirty.ok_or(ParseError::missing("Private_Dirty"))?,
        swap_pss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &[u8] =
        b"5581e6a3b000-7ffd5d7d0000 ---p 00000000 00:00 0                          [rollup]\n\
        Rss:                3556 kB\nPss:                 432 kB\nPss_Dirty:           392 kB\n\
        Pss_Anon:            392 kB\nShared_Clean:       3108 kB\nShared_Dirty:          0 kB\n\
        Private_Clean:        56 kB\nPrivate_Dirty:       392 kB\nSwap:                  0 kB\n\
        SwapPss:               4 kB\nLocked:                0 kB\n";

    #[test]
    fn the_unique_set_is_the_private_pages() {
        let rollup = parse_smaps_rollup(ROLLUP).unwrap();
        assert_eq!((rollup.rss, rollup.pss), (Kibibytes(3556), Kibibytes(432)));
        assert_eq!(rollup.uss(), Some(Kibibytes(448)));
        assert_eq!(rollup.swap_pss, Some(Kibibytes(4)));
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let cut = ROLLUP.len() / 2;
        assert_eq!(parse_smaps_rollup(&ROLLUP[..cut]), Err(ParseError::missing("Private_Clean")));
        assert_eq!(parse_smaps_rollup(b""), Err(ParseError::missing("Rss")));
    }
}
