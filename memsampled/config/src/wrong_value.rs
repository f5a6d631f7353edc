//! A value of the configuration that is out of range.

use std::fmt;

/// A value that is out of range, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongValue {
    /// The key, with dots, below the table that was checked.
    pub key: String,
    /// What is wrong, as the end of a sentence about the key.
    pub message: String,
}

impl WrongValue {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.message)
    }
}
