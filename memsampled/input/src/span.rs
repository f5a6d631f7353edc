//! A length of time with its units: `100ms`, `10s`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time as it is written: whole numbers and their units, `h`, `m`, `s` and `ms`, largest first.
///
/// | written | read |
/// |---|---|
/// | `90s`, `100ms` | one number of any unit, up to nine digits without leading zeros |
/// | `1h30m`, `1m05s250ms` | further parts are smaller than the next larger unit |
/// | `12.5s` | seconds may have up to three decimals, and are the last part then |
/// | `500us` | less than a millisecond: only as an offset; intervals refuse it |
/// | `90` | refused: the unit could only be guessed |
///
/// `docs/openapi.yaml` has the same rules as a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Units, largest first, and how many of each are fewer than one of the next larger.
const UNITS: [(&str, u32); 4] = [("h", u32::MAX), ("m", 60), ("s", 60), ("ms", 1000)];
/// Digits of the first number, at most.
const DIGITS_MAX: usize = 9;
/// Decimals of seconds, at most.
const DECIMALS_MAX: usize = 3;

impl Span {
    /// Reads what [`Display`](fmt::Display) writes, and what else the table of the type lists.
    ///
    /// # Errors
    ///
    /// What is wrong and what to write instead, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        if bare.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("a unit is missing: `{bare}ms` or `{bare}s`?"));
        }
        if bare.starts_with('-') && is_written_well(bare.trim_start_matches('-')) {
            return Err("a length of time cannot be negative".to_owned());
        }
        let duration =
            if is_written_well(text) { text.parse::<SignedDuration>().ok() } else { None };
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
        duration.map(Self).ok_or_else(|| {
            "not a length of time: write a number and its unit, such as 100ms, 10s or 1h30m"
                .to_owned()
        })
    }

    /// Returns it if it is a whole number of milliseconds above 0, as intervals and limits must be.
    ///
    /// # Errors
    ///
    /// What is wrong, as the end of a sentence.
    pub fn whole_millis(self) -> Result<Self, String> {
        if self.0.is_zero() || !self.0.subsec_nanos().is_multiple_of(1_000_000) {
            return Err("must be a whole number of milliseconds above 0".to_owned());
        }
        Ok(self)
    }
}

/// Returns whether a text has the form of the table above.
fn is_written_well(text: &str) -> bool {
    if let Some(micros) = text.strip_suffix("us") {
        return is_number(micros, 3);
    }
    let mut rest = text;
    let mut is_first = true;
    for (unit, limit) in UNITS {
        let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, behind) = rest.split_at(length);
        let Some(behind) = behind.strip_prefix(unit) else { continue };
        // `5ms` is not five minutes.
        if unit == "m" && behind.starts_with('s') {
            continue;
        }
        let (whole, decimals) = match number.split_once('.') {
            Some((whole, decimals)) => (whole, Some(decimals)),
            None => (number, None),
        };
        let is_whole_well = if is_first {
            // Nothing follows a part that is 0.
            is_number(whole, DIGITS_MAX) && (number != "0" || behind.is_empty())
        } else {
            let digits = if limit > 60 { 3 } else { 2 };
            (1..=digits).contains(&whole.len()) && whole.parse().is_ok_and(|it: u32| it < limit)
        };
        let are_decimals_well = decimals.is_none_or(|decimals| {
            unit == "s" && behind.is_empty() && (1..=DECIMALS_MAX).contains(&decimals.len())
        });
        if !is_whole_well || !are_decimals_well || decimals.is_some_and(|it| it.contains('.')) {
            return false;
        }
        rest = behind;
        is_first = false;
    }
    !is_first && rest.is_empty()
}

/// Returns whether a text is a number without leading zeros.
fn is_number(text: &str, digits_max: usize) -> bool {
    (1..=digits_max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Span {
    /// Writes the largest unit of which it is a whole number. What is beyond whole microseconds is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let millis = self.0.as_millis();
        match millis {
            0 if micros == 0 => f.write_str("0s"),
            0 => write!(f, "{micros}us"),
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
                Span::parse(text).map_err(|wrong| {
                    let text: String = text.chars().take(32).collect();
                    let text = text.escape_debug();
                    E::custom(format_args!("expected a number and its unit, not `{text}`: {wrong}"))
                })
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
        for text in ["0s", "500us", "1h30m", "59m59s999ms", "12.345s", "999999999h", "999999999ms"]
        {
            let span = Span::parse(text).unwrap();
            assert_eq!(Span::parse(&span.to_string()), Ok(span), "{text}");
        }
    }

    #[test]
    fn a_unit_must_be_there_and_nothing_else() {
        for text in ["", "1", "ms", "01s", "-1s", "1 s", "1d", "1234567890s", "1sé"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
        for text in ["0s", "0ms", "1us"] {
            assert!(Span::parse(text).and_then(Span::whole_millis).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_has_a_unit() {
        let parse = |text| Span::parse(text).map(|span| span.0);
        assert_eq!(parse("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("2.5s"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse("0").unwrap_err(), "a unit is missing: `0ms` or `0s`?");
        assert_eq!(parse("-1s").unwrap_err(), "a length of time cannot be negative");
        for garbage in
            ["5s2", "", "s", "ten seconds", "-1s", "1e3s", "5 sheep", "99999999999999999999s"]
        {
            assert!(parse(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn parts_come_in_order_and_none_is_larger_than_the_next_larger_unit() {
        let parse = |text| Span::parse(text).map(|span| span.0.as_millis());
        assert_eq!(parse("1h05m"), Ok(3_900_000));
        assert_eq!(parse("1h0m0s0ms"), Ok(3_600_000));
        assert_eq!(parse("1h5s"), Ok(3_605_000));
        assert_eq!(parse("1m2.25s"), Ok(62_250));
        assert_eq!(parse("90m"), Ok(5_400_000));
        for text in [
            "1h90m", "1m60s", "1s1000ms", "1m1h", "1s1s", "1.5h", "1.5ms", ".5s", "1.s", "1.2345s",
            "1.5s5ms", "1.5.5s", "1m005s", "1s0001ms", "1000us", "1s5us", "1ms5us", "1hm", "1h30",
            "0h5m",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
