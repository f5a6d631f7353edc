//! `/proc/[pid]/statm`: sizes in pages.

use super::scan::Tokens;
use crate::error::ParseError;
use crate::units::Pages;

/// The sizes of one process, in pages, from `/proc/[pid]/statm`.
///
/// All zero for a kernel thread and for a zombie, which have no memory map.
/// Kernels 6.2 to about 6.16 print `resident` and `shared` from per-CPU counters with an error of up
/// to 32 pages a CPU; `smaps_rollup` is exact.
/// Kernel source: `proc_pid_statm` in `fs/proc/array.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statm {
    /// Virtual size.
    pub size: Pages,
    /// Resident set: `RssAnon + RssFile + RssShmem` of `status`.
    pub resident: Pages,
    /// Resident pages backed by files or shared memory: `RssFile + RssShmem` of `status`.
    pub shared: Pages,
    /// Code of the executable itself, without libraries.
    pub text: Pages,
    /// Private writable memory and stack, resident or not.
    pub data: Pages,
}

/// Parses the contents of `/proc/[pid]/statm`.
///
/// # Errors
///
/// [`ParseError`] names the first field that is absent or is not a number.
#[inline]
pub fn parse_statm(bytes: &[u8]) -> Result<Statm, ParseError> {
    let mut tokens = Tokens::new(bytes);
    let size = tokens.number("size")?;
    let resident = tokens.number("resident")?;
    let shared = tokens.number("shared")?;
    let text = tokens.number("text")?;
    // Unused since Linux 2.6, always 0.
    tokens.number("lib")?;
    let data = tokens.number("data")?;
    Ok(Statm {
        size: Pages(size),
        resident: Pages(resident),
        shared: Pages(shared),
        text: Pages(text),
        data: Pages(data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ParseErrorKind;

    #[test]
    fn the_fields_stand_in_the_order_of_the_kernel() {
        let statm = parse_statm(b"1 2 3 4 0 6 0\n").unwrap();
        let expected = Statm {
            size: Pages(1),
            resident: Pages(2),
            shared: Pages(3),
            text: Pages(4),
            data: Pages(6),
        };
        assert_eq!(statm, expected);
    }

    #[test]
    fn a_number_beyond_64_bits_is_the_largest() {
        let statm = parse_statm(b"18446744073709551616 99999999999999999999999 3 4 0 6 0").unwrap();
        assert_eq!((statm.size, statm.resident), (Pages(u64::MAX), Pages(u64::MAX)));
        assert_eq!(parse_statm(b"18446744073709551615 2 3 4 0 6 0").unwrap().size, Pages(u64::MAX));
    }

    #[test]
    fn a_truncated_file_names_the_field_that_is_missing() {
        assert_eq!(parse_statm(b"1 2 3"), Err(ParseError::missing("text")));
        assert_eq!(parse_statm(b""), Err(ParseError::missing("size")));
        assert_eq!(parse_statm(b"1 2 x 4 0 6 0").unwrap_err().kind, ParseErrorKind::NotANumber);
    }
}
