//! Where memory is swapped to.

use serde::{Deserialize, Serialize};

use super::scan::{Tokens, next_line};
use crate::error::ParseError;
use crate::units::Kibibytes;

/// The swap devices and files, from `/proc/swaps`.
///
/// Kernel source: `swap_show` in `mm/swapfile.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swaps {
    /// How many there are.
    pub devices: u64,
    /// Their size.
    pub size: Kibibytes,
    /// What is in use.
    pub used: Kibibytes,
}

/// Parses the contents of `/proc/swaps`.
///
/// # Errors
///
/// [`ParseError`] names the field that is absent or malformed, `Filename` where there is no header, or
/// the field whose sum does not fit in 64 bits.
pub fn parse_swaps(bytes: &[u8]) -> Result<Swaps, ParseError> {
    let mut rest = bytes;
    let header = next_line(&mut rest).unwrap_or_default();
    if !header.starts_with(b"Filename") {
        return Err(ParseError::missing("Filename"));
    }
    let mut swaps = Swaps::default();
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        // The kernel escapes blanks in a name.
        tokens.skip(2, "Type")?;
        let (size, used) = (tokens.number("Size")?, tokens.number("Used")?);
        let add = |sum: Kibibytes, more, field| {
            sum.0.checked_add(more).map(Kibibytes).ok_or(ParseError::out_of_range(field))
        };
        swaps.size = add(swaps.size, size, "Size")?;
        swaps.used = add(swaps.used, used, "Used")?;
        swaps.devices += 1;
    }
    Ok(swaps)
}

/// A block device of compressed memory, in bytes, from `/sys/block/zram*/mm_stat`.
///
/// Kernel source: `mm_stat_show` in `drivers/block/zram/zram_drv.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zram {
    /// What is stored, as it was before compression.
    pub data_bytes: u64,
    /// The same compressed.
    pub compressed_bytes: u64,
    /// The memory that it takes, with what the allocator wastes.
    pub used_bytes: u64,
    /// The most memory that it took, since the device was made or the mark was reset.
    pub used_peak_bytes: u64,
}

/// Parses the contents of `mm_stat` of a zram device.
///
/// # Errors
///
/// [`ParseError`] names the first field that is absent or malformed.
pub fn parse_zram(bytes: &[u8]) -> Result<Zram, ParseError> {
    let mut tokens = Tokens::new(bytes);
    let data_bytes = tokens.number("orig_data_size")?;
    let compressed_bytes = tokens.number("compr_data_size")?;
    let used_bytes = tokens.number("mem_used_total")?;
    tokens.skip(1, "mem_limit")?;
    let used_peak_bytes = tokens.number("mem_used_max")?;
    Ok(Zram { data_bytes, compressed_bytes, used_bytes, used_peak_bytes })
}

impl Zram {
    /// Returns the sum of two devices; `None` where it does not fit in 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            data_bytes: self.data_bytes.checked_add(other.data_bytes)?,
            compressed_bytes: self.compressed_bytes.checked_add(other.compressed_bytes)?,
            used_bytes: self.used_bytes.checked_add(other.used_bytes)?,
            used_peak_bytes: self.used_peak_bytes.checked_add(other.used_peak_bytes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_space_is_summed_over_devices() {
        let header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(parse_swaps(header.as_bytes()), Ok(Swaps::default()));
        let text = format!(
            "{header}/dev/zram0                              partition\t4194300\t\t1024\t\t100\n\
             /swap\\040file                           file\t\t1000\t\t24\t\t-2\n"
        );
        let expected = Swaps { devices: 2, size: Kibibytes(4_195_300), used: Kibibytes(1048) };
        assert_eq!(parse_swaps(text.as_bytes()), Ok(expected));
        for broken in ["", "nothing", "Filename\n/dev/sda2 partition", "Filename\na b x 1 1"] {
            assert!(parse_swaps(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn zram_has_grown_fields_at_its_end() {
        let of_3_16 = b"  409600   13000   40960  0 81920 7 0\n";
        let of_6 =
            b"  409600   13000   40960        0    81920        7        0        0        0\n";
        let expected = Zram {
            data_bytes: 409_600,
            compressed_bytes: 13_000,
            used_bytes: 40_960,
            used_peak_bytes: 81_920,
        };
        assert_eq!(parse_zram(of_3_16), Ok(expected));
        assert_eq!(parse_zram(of_6), Ok(expected));
        assert!(parse_zram(b"1 2 3 4").is_err());
        assert_eq!(expected.checked_add(expected).unwrap().used_bytes, 81_920);
    }
}
