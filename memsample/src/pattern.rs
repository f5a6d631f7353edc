//! Regular expressions as a user writes them.

use std::fmt;

use regex::bytes::Regex;

/// A text that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl PatternError {
    /// What is wrong fits on a line: the last one of the message, without its heading.
    pub(crate) fn new(error: &regex::Error) -> Self {
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        Self(last.trim_start_matches("error: ").to_owned())
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

/// Compiles a regular expression over bytes.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    Regex::new(pattern).map_err(|error| PatternError::new(&error))
}
