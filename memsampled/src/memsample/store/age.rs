//! How old a run may be, as a person types it: `90d`, or a length of time as elsewhere.

use jiff::SignedDuration;
use memsample_input::Span;

/// The longest age: a hundred years.
const MAX_DAYS: i64 = 36_500;

/// Reads an age. A day has 24 hours.
pub(super) fn parse(text: &str) -> Result<SignedDuration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    match days {
        Some(days) if (0..=MAX_DAYS).contains(&days) => Ok(SignedDuration::from_hours(24 * days)),
        Some(_) => Err(format!("must be from 0d to {MAX_DAYS}d")),
        None => Span::parse(text)
            .ok()
            .and_then(|span| SignedDuration::try_from(span.0).ok())
            .ok_or_else(|| {
                "not an age: write a number and its unit, such as 90d, 12h or 30m".to_owned()
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_days() {
        assert_eq!(parse("90d"), Ok(SignedDuration::from_hours(2160)));
        assert_eq!(parse("1h30m"), Ok(SignedDuration::from_mins(90)));
        for wrong in ["", "d", "90", "-1d", "1d12h", "99999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
