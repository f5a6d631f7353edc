//! A size in bytes with its unit: `64MiB`, `1.5GB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A size in bytes as it is written: a number, which may have decimals, and its unit.
///
/// A bare number is refused, since its unit could only be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units, in the order in which they are written: the name and its bytes.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Reads what [`Display`](fmt::Display) writes, and any other number with a unit.
    ///
    /// # Errors
    ///
    /// What is wrong and what to write instead, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "not a size: write a number and its unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), such as 64MiB"
                .to_owned()
        };
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        if number.is_empty() {
            return Err(wrong());
        }
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(format!("a unit is missing: `{number}MiB` or `{number}B`?"));
        }
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let too_large = || "too large a size".to_owned();
        if whole.is_empty()
            || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
        {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let whole = whole.checked_mul(*bytes).ok_or_else(too_large)?;
        // Nine places are more than a unit of 1 TiB has use for; exact to a byte all the same.
        let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
        let part = u64::try_from(fraction * u128::from(*bytes) / 1_000_000_000)
            .map_err(|_| too_large())?;
        whole.checked_add(part).map(Self).ok_or_else(too_large)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for ByteSize {
    /// Writes the largest unit of which it is a whole number, so that no byte is lost.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole =
            |(_, bytes): &&(&str, u64)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS
            .iter()
            .filter(is_whole)
            .max_by_key(|(_, bytes)| *bytes)
            .copied()
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with its unit, such as \"256MiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).map_err(|wrong| {
                    let text: String = text.chars().take(32).collect();
                    E::custom(format_args!("`{}`: {wrong}", text.escape_debug()))
                })
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Err(E::custom(format_args!("a unit is missing: write \"{}\"", ByteSize(bytes))))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                match u64::try_from(bytes) {
                    Ok(bytes) => self.visit_u64(bytes),
                    Err(_) => Err(E::custom("a size cannot be negative")),
                }
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        let parse = |text| ByteSize::parse(text).map(|size| size.0);
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse("0B"), Ok(0));
        assert_eq!(parse("10kB"), Ok(10_000));
        assert_eq!(parse("16777215TiB"), Ok(16_777_215 << 40));
        assert_eq!(parse("64").unwrap_err(), "a unit is missing: `64MiB` or `64B`?");
        assert_eq!(parse("16777216TiB").unwrap_err(), "too large a size");
        for garbage in
            ["", "MiB", ".5MiB", "1..5MiB", "-1MiB", "64M", "64mib", "64 sheep", "1e3MiB", "٣MiB"]
        {
            assert!(parse(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1023, "1023B"),
            (256 << 20, "256MiB"),
            (3 << 29, "1536MiB"),
            (1_000_000_000, "1GB"),
            (50_000_000_000, "50GB"),
            (1_000_000_001, "1000000001B"),
            (u64::MAX, "18446744073709551615B"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)));
        }
    }
}
