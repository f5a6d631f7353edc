//! `/proc/[pid]/io`: bytes read and written.

use super::scan::{KeyValues, number};
use crate::error::ParseError;

/// What a process has read and written since it began, from `/proc/[pid]/io`, in bytes.
///
/// Needs the same rights as `ptrace`. Kernel source: `do_io_accounting` in `fs/proc/base.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Passed through `read` and its kin, from cache, pipe or disk.
    pub rchar_bytes: u64,
    /// Passed through `write` and its kin.
    pub wchar_bytes: u64,
    /// Fetched from storage.
    pub read_bytes: u64,
    /// Caused to be sent to storage.
    pub write_bytes: u64,
    /// Counted in `write_bytes`, but the file was truncated before it was written.
    pub cancelled_write_bytes: u64,
}

/// Parses the contents of `/proc/[pid]/io`.
///
/// # Errors
///
/// [`ParseError`] names the first line that is absent or is not a number.
pub fn parse_io(bytes: &[u8]) -> Result<Io, ParseError> {
    let mut io = Io::default();
    let mut seen = 0_u8;
    for (key, value) in KeyValues::new(bytes) {
        let (slot, bit, field) = match key {
            b"rchar" => (&mut io.rchar_bytes, 1, "rchar"),
            b"wchar" => (&mut io.wchar_bytes, 2, "wchar"),
            b"read_bytes" => (&mut io.read_bytes, 4, "read_bytes"),
            b"write_bytes" => (&mut io.write_bytes, 8, "write_bytes"),
            b"cancelled_write_bytes" => {
                (&mut io.cancelled_write_bytes, 16, "cancelled_write_bytes")
            }
            _ => continue,
        };
        *slot = number(value, field)?;
        seen |= bit;
    }
    let fields = ["rchar", "wchar", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    match fields.get(seen.trailing_ones() as usize) {
        Some(field) => Err(ParseError::missing(field)),
        None => Ok(io),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_wanted() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        let io = parse_io(text).unwrap();
        let expected = Io {
            rchar_bytes: 1,
            wchar_bytes: 2,
            read_bytes: 5,
            write_bytes: 6,
            cancelled_write_bytes: 7,
        };
        assert_eq!(io, expected);
        assert_eq!(parse_io(&text[..20]), Err(ParseError::missing("read_bytes")));
        assert_eq!(parse_io(b""), Err(ParseError::missing("rchar")));
    }
}
