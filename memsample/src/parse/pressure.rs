//! `/proc/pressure/memory` and `memory.pressure`: time spent waiting for memory.

use serde::{Deserialize, Serialize};

use super::scan::{Tokens, next_line, number};
use crate::error::{ParseError, ParseErrorKind};

/// How long tasks waited for memory, from `/proc/pressure/memory` (since Linux 4.20, where built in).
///
/// Kernel source: `psi_show` in `kernel/sched/psi.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks that were not idle waited. `None` where the kernel does not print the line.
    pub full: Option<Stall>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The share of the last 10 seconds, in hundredths of a percent.
    pub avg10_centipercent: u32,
    /// The share of the last 60 seconds, in hundredths of a percent.
    pub avg60_centipercent: u32,
    /// The share of the last 300 seconds, in hundredths of a percent.
    pub avg300_centipercent: u32,
    /// The whole time waited since boot, in microseconds.
    pub total_us: u64,
}

/// Parses the contents of `/proc/pressure/memory` (or `cpu`, or `io`).
///
/// # Errors
///
/// [`ParseError`] names the first field that is absent or malformed.
pub fn parse_pressure(bytes: &[u8]) -> Result<Pressure, ParseError> {
    let mut rest = bytes;
    let mut some = None;
    let mut full = None;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        match tokens.next() {
            Some(b"some") => some = Some(parse_stall(tokens)?),
            Some(b"full") => full = Some(parse_stall(tokens)?),
            _ => {}
        }
    }
    Ok(Pressure { some: some.ok_or(ParseError::missing("some"))?, full })
}

fn parse_stall(mut tokens: Tokens<'_>) -> Result<Stall, ParseError> {
    let mut value = |prefix: &'static [u8], field| {
        let token = tokens.next().ok_or(ParseError::missing(field))?;
        token.strip_prefix(prefix).ok_or(ParseError::missing(field))
    };
    Ok(Stall {
        avg10_centipercent: centipercent(value(b"avg10=", "avg10")?, "avg10")?,
        avg60_centipercent: centipercent(value(b"avg60=", "avg60")?, "avg60")?,
        avg300_centipercent: centipercent(value(b"avg300=", "avg300")?, "avg300")?,
        total_us: number(value(b"total=", "total")?, "total")?,
    })
}

/// Reads `12.34`; the kernel always prints two digits behind the point.
fn centipercent(token: &[u8], field: &'static str) -> Result<u32, ParseError> {
    let not_a_number = ParseError { field, kind: ParseErrorKind::NotANumber };
    let point = token.iter().position(|&byte| byte == b'.').ok_or(not_a_number)?;
    let (whole, fraction) = token.split_at(point);
    let fraction = fraction.get(1..).filter(|digits| digits.len() == 2).ok_or(not_a_number)?;
    let value = number(whole, field)?
        .checked_mul(100)
        .and_then(|value| value.checked_add(number(fraction, field).ok()?))
        .ok_or(ParseError::out_of_range(field))?;
    u32::try_from(value).map_err(|_| ParseError::out_of_range(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = b"some avg10=12.34 avg60=0.05 avg300=100.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure = parse_pressure(text).unwrap();
        let some = Stall {
            avg10_centipercent: 1234,
            avg60_centipercent: 5,
            avg300_centipercent: 10_000,
            total_us: 42,
        };
        assert_eq!(pressure.some, some);
        assert_eq!(pressure.full.unwrap().total_us, 7);
    }

    #[test]
    fn malformed_lines_are_errors() {
        for text in [
            &b""[..],
            b"full avg10=0.00 avg60=0.00 avg300=0.00 total=7",
            b"some avg10=0.0 avg60=0.00 avg300=0.00 total=7",
            b"some avg10=.00 avg60=0.00 avg300=0.00 total=7",
            b"some avg10=0.xx avg60=0.00 avg300=0.00 total=7",
            b"some avg10=99999999999.00 avg60=0.00 avg300=0.00 total=7",
            b"some avg10=0.00 avg60=0.00 avg300=0.00",
        ] {
            assert!(parse_pressure(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
