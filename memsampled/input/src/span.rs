use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time as it is written in JSON: a whole number and its unit, `ms`, `s`, `m` or `h`.
///
/// A bare number is refused, since its unit could only be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{}` is not a length of time: write a whole number without leading zeros and its unit, \
                 such as 100ms, 10s, 5m or 1h",
                text.chars().take(32).collect::<String>().escape_debug()
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.len() > 9 || number.starts_with('0') {
            return Err(refused());
        }
        let number: u64 = number.parse().map_err(|_| refused())?;
        match unit {
            "ms" => Ok(Self(Duration::from_millis(number))),
            "s" => Ok(Self(Duration::from_secs(number))),
            "m" => Ok(Self(Duration::from_secs(60 * number))),
            "h" => Ok(Self(Duration::from_secs(3600 * number))),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Span {
    /// Writes whole milliseconds in the largest unit without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            millis if millis % 1000 != 0 => write!(f, "{millis}ms"),
            millis if millis % 60_000 != 0 => write!(f, "{}s", millis / 1000),
            millis if millis % 3_600_000 != 0 => write!(f, "{}m", millis / 60_000),
            millis => write!(f, "{}h", millis / 3_600_000),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time with its unit, such as \"100ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, millis) in
            [("1ms", 1), ("100ms", 100), ("90s", 90_000), ("5m", 300_000), ("24h", 86_400_000)]
        {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.0.as_millis(), span.to_string().as_str()), (millis, text));
        }
        assert_eq!(Span::parse("60s").unwrap().to_string(), "1m");
    }

    #[test]
    fn a_unit_must_be_there_and_nothing_else() {
        for text in ["", "1", "ms", "0s", "01s", "1.5s", "-1s", "1 s", "1d", "1234567890s", "1sé"]
        {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
