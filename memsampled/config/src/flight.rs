//! The table `[daemon.flight_recorder]`.

use std::time::Duration;

use serde::Deserialize;

use memsample_input::{ByteSize, Span};

use super::wrong_value::WrongValue;

/// The shortest and the longest time that can be kept.
const SPAN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
/// The smallest space: eight segments, each of which begins with everything there is.
const MIN_BYTES: u64 = 16 << 20;
/// A dump itself takes up to a second.
const MIN_GAP: Duration = Duration::from_secs(1);
/// The window of a trigger, in microseconds, as the kernel bounds it.
const PRESSURE_WINDOW_US: (u64, u64) = (500_000, 10_000_000);

/// What the flight recorder keeps, and when the daemon makes an automatic dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightSettings {
    /// How much it keeps.
    pub span: Duration,
    /// The most that this may take on disk, in bytes.
    pub bytes: u64,
    /// From one sample of every process to the next.
    pub interval: Duration,
    /// When memory pressure makes a dump, as it is written to `/proc/pressure/memory`; `None`: never.
    pub pressure: Option<String>,
    /// From one automatic dump to the next, at least.
    pub gap: Duration,
    /// How many automatic dumps there may be; then none is made until some are removed.
    pub dumps: usize,
    /// How much they may take on disk together, in bytes; `None`: four times `bytes`, at least 1 GiB.
    pub dumps_bytes: Option<u64>,
}

impl FlightSettings {
    /// Keeps `span` with the defaults of everything else.
    pub fn new(span: Duration) -> Self {
        Self {
            span,
            bytes: 256 << 20,
            interval: Duration::from_millis(100),
            // 15 % of a second in which some task waited for memory.
            pressure: Some("some 150000 1000000".to_owned()),
            gap: Duration::from_secs(60),
            dumps: 16,
            dumps_bytes: None,
        }
    }

    /// Returns how much automatic dumps may take together, in bytes.
    pub fn dumps_bytes(&self) -> u64 {
        self.dumps_bytes.unwrap_or_else(|| self.bytes.saturating_mul(4).max(1 << 30))
    }

    /// Describes what is out of range.
    ///
    /// # Errors
    ///
    /// The key below `[daemon.flight_recorder]`, and what to write.
    pub fn check(&self) -> Result<(), WrongValue> {
        let wrong = |key, message: &str| Err(WrongValue::new(key, message));
        if !(SPAN.0..=SPAN.1).contains(&self.span) {
            return wrong("span", "the flight recorder keeps from 10s to 24h");
        }
        if self.bytes < MIN_BYTES {
            return wrong("bytes", "the flight recorder needs at least 16 MiB");
        }
        let is_whole = Span(self.interval).whole_millis().is_ok();
        if !is_whole || self.interval > Duration::from_secs(3600) {
            return wrong("interval", "must be a whole number of milliseconds from 1ms to 1h");
        }
        if self.gap < MIN_GAP {
            return wrong("gap", "must be at least 1s");
        }
        match &self.pressure {
            Some(pressure) if !is_trigger(pressure) => wrong(
                "pressure",
                "no trigger of memory pressure: write `some` or `full`, the time in which somebody waits and the \
                 window of 500000 to 10000000, both in microseconds, such as `some 150000 1000000`; or `off`",
            ),
            _ => Ok(()),
        }
    }
}

/// Returns whether the kernel would accept a trigger.
fn is_trigger(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let ["some" | "full", stall, window] = words.as_slice() else { return false };
    let (Ok(stall_us), Ok(window_us)) = (stall.parse::<u64>(), window.parse::<u64>()) else {
        return false;
    };
    let (min_us, max_us) = PRESSURE_WINDOW_US;
    (min_us..=max_us).contains(&window_us) && (1..=window_us).contains(&stall_us)
}

/// Returns whether a trigger is about all tasks, and how long they wait, in microseconds.
pub fn share_of(trigger: &str) -> (bool, u64) {
    let mut words = trigger.split(' ');
    let is_full = words.next() == Some("full");
    (is_full, words.next().and_then(|stall| stall.parse().ok()).unwrap_or(0))
}

/// Returns the same share of a window for which the kernel needs no CAP_SYS_RESOURCE.
pub fn without_capability(trigger: &str) -> Option<String> {
    const STEP_US: u64 = 2_000_000;
    let mut words = trigger.split(' ');
    let (kind, stall, window) = (words.next()?, words.next()?, words.next()?);
    let (stall_us, window_us): (u64, u64) = (stall.parse().ok()?, window.parse().ok()?);
    let wide_us = window_us.next_multiple_of(STEP_US);
    let share_us = (stall_us * wide_us).checked_div(window_us)?;
    (wide_us != window_us).then(|| format!("{kind} {share_us} {wide_us}"))
}

/// The table `[daemon.flight_recorder]` as it is in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlightTable {
    span: Span,
    bytes: Option<ByteSize>,
    interval: Option<Span>,
    pressure: Option<String>,
    gap: Option<Span>,
    dumps: Option<usize>,
    dumps_bytes: Option<ByteSize>,
}

impl From<FlightTable> for FlightSettings {
    fn from(table: FlightTable) -> Self {
        let defaults = Self::new(table.span.0);
        Self {
            bytes: table.bytes.map_or(defaults.bytes, |size| size.0),
            interval: table.interval.map_or(defaults.interval, |span| span.0),
            pressure: match table.pressure.as_deref() {
                None => defaults.pressure,
                Some("off") => None,
                Some(pressure) => Some(pressure.to_owned()),
            },
            gap: table.gap.map_or(defaults.gap, |span| span.0),
            dumps: table.dumps.unwrap_or(defaults.dumps),
            dumps_bytes: table.dumps_bytes.map(|size| size.0),
            span: defaults.span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_widened_and_its_share_stays() {
        let wide = Some("some 300000 2000000".to_owned());
        assert_eq!(without_capability("some 150000 1000000"), wide);
        assert_eq!(without_capability("full 100 4000000"), None);
    }

    #[test]
    fn triggers_are_those_of_the_kernel() {
        for (text, valid) in [
            ("some 150000 1000000", true),
            ("full 1 500000", true),
            ("some 1000001 1000000", false),
            ("some 0 1000000", false),
            ("some 150000 100", false),
            ("some 150000", false),
            ("some 150000 1000000 1", false),
            ("all 150000 1000000", false),
            ("", false),
        ] {
            assert_eq!(is_trigger(text), valid, "{text}");
        }
    }
}
