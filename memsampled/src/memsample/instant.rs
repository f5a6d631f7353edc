//! How a person writes an instant of a recording.

use jiff::Timestamp;
use memsample::view::At;

use crate::duration;

/// Reads an instant of a recording: a time, or the time since the first tick.
pub(crate) fn parse_at(text: &str) -> Result<At, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(At::Time(time));
    }
    duration::parse(text).map(At::Offset).map_err(|_| match text.parse::<f64>() {
        Ok(_) => format!("a unit is missing: `{text}s`?"),
        Err(_) => "write a time such as 2026-11-22T20:59:38.281Z, or the time since the first tick such as 12.5s"
            .to_owned(),
    })
}
