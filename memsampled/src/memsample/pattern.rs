//! Regular expressions as a person types them.

use regex::Regex;

/// Reads a regular expression. The error is one line.
pub(crate) fn parse(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        last.trim_start_matches("error: ").to_owned()
    })
}
