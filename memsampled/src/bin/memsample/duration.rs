//! Lengths of time as a person types them: `100ms`, `10s`, `1h30m`.

use std::time::Duration;

use jiff::SignedDuration;
use memsample::Rate;

/// Reads a length of time. A bare number is refused, since its unit could only be guessed.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a unit is missing: `{0}ms` or `{0}s`?", text.trim()));
    }
    let duration: SignedDuration = text.parse().map_err(|_| {
        "not a length of time: write a number and its unit, such as 100ms, 10s or 1h30m".to_owned()
    })?;
    Duration::try_from(duration).map_err(|_| "a length of time cannot be negative".to_owned())
}

/// Reads how often something is read: a length of time, `every` tick, or `off`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    match text {
        "off" => Ok(Rate::Off),
        "every" => Ok(Rate::EveryTick),
        text => parse(text).map(Rate::Every),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_typed() {
        assert_eq!(parse("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("2.5s"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse("0").unwrap_err(), "a unit is missing: `0ms` or `0s`?");
        for garbage in
            ["5s2", "", "s", "ten seconds", "-1s", "1e3s", "5 sheep", "99999999999999999999s"]
        {
            assert!(parse(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn rates_have_two_words() {
        assert_eq!(parse_rate("off"), Ok(Rate::Off));
        assert_eq!(parse_rate("every"), Ok(Rate::EveryTick));
        assert_eq!(parse_rate("1s"), Ok(Rate::Every(Duration::from_secs(1))));
        assert!(parse_rate("never").is_err());
    }
}
