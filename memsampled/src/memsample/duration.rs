//! Durations and rates as a person types them: `100ms`, `10s`, `every`, `off`.

use std::time::Duration;

use memsample::Rate;
use memsample_input::Span;

/// Reads a length of time.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(|span| span.0)
}

/// Parses a rate: a duration, `every` (at every tick) or `off`.
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
    fn rates_have_two_words() {
        assert_eq!(parse_rate("off"), Ok(Rate::Off));
        assert_eq!(parse_rate("every"), Ok(Rate::EveryTick));
        assert_eq!(parse_rate("1s"), Ok(Rate::Every(Duration::from_secs(1))));
        assert!(parse_rate("never").is_err());
    }
}
