//! Reading decimal numbers, tokens and lines out of a byte slice.

use crate::error::{ParseError, ParseErrorKind};
use crate::units::Kibibytes;

/// Walks over the space-separated tokens of one line.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// Returns the next token, or `None` at the end of the line.
    #[inline]
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|&byte| !is_blank(byte))?;
        let rest = self.rest.get(start..)?;
        let end = rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len());
        let (token, rest) = rest.split_at(end);
        self.rest = rest;
        Some(token)
    }

    /// Returns what was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes over `count` tokens.
    #[inline]
    pub(super) fn skip(&mut self, count: usize, field: &'static str) -> Result<(), ParseError> {
        for _ in 0..count {
            self.next().ok_or(ParseError::missing(field))?;
        }
        Ok(())
    }

    /// Reads the next token as an unsigned number; one beyond 64 bits is the largest of them.
    ///
    /// One pass over the bytes: this is the inner loop of every sweep.
    #[inline]
    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let mut bytes = self.rest;
        while let [byte, rest @ ..] = bytes
            && is_blank(*byte)
        {
            bytes = rest;
        }
        let mut value: u64 = 0;
        let mut digits = 0_u32;
        while let [byte, rest @ ..] = bytes {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            digits += 1;
            // Nineteen digits always fit; only then is the check worth its branch. What does not fit is the
            // largest number: so is what does not fit into a column.
            value = if digits <= 19 {
                value * 10 + u64::from(digit)
            } else {
                value.saturating_mul(10).saturating_add(u64::from(digit))
            };
            bytes = rest;
        }
        match (digits, bytes.first()) {
            (0, None) => Err(ParseError::missing(field)),
            (0, Some(_)) => Err(ParseError { field, kind: ParseErrorKind::NotANumber }),
            (_, None) => {
                self.rest = bytes;
                Ok(value)
            }
            (_, Some(&byte)) if is_blank(byte) => {
                self.rest = bytes;
                Ok(value)
            }
            (_, Some(_)) => Err(ParseError { field, kind: ParseErrorKind::NotANumber }),
        }
    }

    /// Reads the next token as a number that the kernel prints with a sign.
    pub(super) fn signed(&mut self, field: &'static str) -> Result<i64, ParseError> {
        let token = self.next().ok_or(ParseError::missing(field))?;
        let (negative, digits) = match token {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let magnitude = number(digits, field)?;
        let value = i64::try_from(magnitude).map_err(|_| ParseError::out_of_range(field))?;
        Ok(if negative { -value } else { value })
    }
}

/// Reads the first token of `value` as an unsigned number and ignores what follows it.
#[inline]
pub(super) fn number(value: &[u8], field: &'static str) -> Result<u64, ParseError> {
    Tokens::new(value).number(field)
}

/// Reads a value as in `VmRSS:     1234 kB`; the unit is not checked, since no kernel prints another.
#[inline]
pub(super) fn kibibytes(value: &[u8], field: &'static str) -> Result<Kibibytes, ParseError> {
    number(value, field).map(Kibibytes)
}

/// Walks over lines as `(key, value)`, split at the first `:`; lines without one are passed over.
pub(super) struct KeyValues<'a> {
    rest: &'a [u8],
}

impl<'a> KeyValues<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for KeyValues<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = next_line(&mut self.rest) {
            if let Some(colon) = line.iter().position(|&byte| byte == b':') {
                let (key, value) = line.split_at(colon);
                return Some((key, value.get(1..).unwrap_or_default()));
            }
        }
        None
    }
}

/// Takes the next line off `rest`, without its newline; `None` at the end.
#[inline]
pub(super) fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let (line, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    Some(line)
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_at_a_blank_and_nowhere_else() {
        assert_eq!(number(b"18446744073709551615", "x"), Ok(u64::MAX));
        assert_eq!(number(b"18446744073709551616", "x"), Ok(u64::MAX));
        assert_eq!(number(b"000000000000000000000000001", "x"), Ok(1));
        for garbage in [&b"12a"[..], b"-1", b"+1", b"1.5", b"\xff", b"0x10"] {
            assert_eq!(number(garbage, "x").unwrap_err().kind, ParseErrorKind::NotANumber);
        }
        assert_eq!(number(b"", "x"), Err(ParseError::missing("x")));
        assert_eq!(number(b"   ", "x"), Err(ParseError::missing("x")));
    }

    #[test]
    fn lines_without_a_final_newline_are_lines() {
        let pairs: Vec<_> = KeyValues::new(b"a: 1\nnoise\nb:2").collect();
        assert_eq!(pairs, [(&b"a"[..], &b" 1"[..]), (&b"b"[..], &b"2"[..])]);
    }
}
