//! What went wrong with a store.

use std::error::Error;
use std::fmt;
use std::io;

/// That nobody set credentials, and the machine has none either.
pub(crate) const NO_CREDENTIALS: &str = "no credentials are set, and this machine has none";

/// What kind of thing went wrong, as far as a caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The address is none, or of a kind that this program was built without.
    Address,
    /// What was asked for is not in the store.
    NotFound,
    /// The bucket is not there.
    NoBucket,
    /// The store refuses: credentials are missing, wrong, or not sufficient.
    Refused,
    /// The store does not answer, or asks again and again to come later.
    Unavailable,
    /// Something else is there already.
    Exists,
    /// What is in the store is not what its manifest says, or of a later format.
    Damaged,
    /// What is to be pushed has not ended.
    Unfinished,
    /// A local file cannot be read or written.
    Local,
    /// It is larger than what is done with it may be.
    TooLarge,
    /// It is only read.
    ReadOnly,
}

/// An error of a store, with what was done and what helps.
#[derive(Debug)]
pub struct StoreError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Makes an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn local(what: impl Into<String>, error: io::Error) -> Self {
        Self { kind: ErrorKind::Local, message: what.into(), source: Some(Box::new(error)) }
    }

    pub(crate) fn because(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: what.into(), source: Some(source.into()) }
    }

    /// Returns what kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the same may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::Refused | ErrorKind::NoBucket | ErrorKind::Local
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
