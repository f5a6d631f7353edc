//! Lengths of time and sizes as a person types them, always with a unit: `30s`, `64MiB`.

use std::time::Duration;

use jiff::SignedDuration;

/// Units of sizes, largest first: the name and its bytes.
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

/// Reads a length of time such as `100ms`, `10s` or `1h30m`. A bare number is refused, since its unit
/// could only be guessed.
///
/// # Errors
///
/// What is wrong and what to write instead, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a unit is missing: `{0}ms` or `{0}s`?", text.trim()));
    }
    let duration: SignedDuration = text.parse().map_err(|_| {
        "not a length of time: write a number and its unit, such as 100ms, 10s or 1h30m".to_owned()
    })?;
    Duration::try_from(duration).map_err(|_| "a length of time cannot be negative".to_owned())
}

/// Reads a size in bytes such as `64MiB` or `1.5GB`. A bare number is refused.
///
/// # Errors
///
/// What is wrong and what to write instead, as the end of a sentence.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
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
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(*bytes).ok_or_else(too_large)?;
    // Nine places are more than a unit of 1 TiB has use for; exact to a byte all the same.
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
    let part =
        u64::try_from(fraction * u128::from(*bytes) / 1_000_000_000).map_err(|_| too_large())?;
    whole.checked_add(part).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("2.5s"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_duration("0").unwrap_err(), "a unit is missing: `0ms` or `0s`?");
        for garbage in
            ["5s2", "", "s", "ten seconds", "-1s", "1e3s", "5 sheep", "99999999999999999999s"]
        {
            assert!(parse_duration(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("0B"), Ok(0));
        assert_eq!(parse_bytes("10kB"), Ok(10_000));
        assert_eq!(parse_bytes("16777215TiB"), Ok(16_777_215 << 40));
        assert_eq!(parse_bytes("64").unwrap_err(), "a unit is missing: `64MiB` or `64B`?");
        assert_eq!(parse_bytes("16777216TiB").unwrap_err(), "too large a size");
        for garbage in
            ["", "MiB", ".5MiB", "1..5MiB", "-1MiB", "64M", "64mib", "64 sheep", "1e3MiB", "٣MiB"]
        {
            assert!(parse_bytes(garbage).is_err(), "{garbage}");
        }
    }
}
