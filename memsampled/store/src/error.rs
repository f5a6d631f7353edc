//! What went wrong with a store.

use std::error::Error;
use std::fmt;
use std::io;

use memsample_input::with_causes;

/// What kind of thing went wrong, as far as a caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The address is none, or of a kind that this program was built without.
    Address,
    /// What was asked for is not in the store.
    NotFound,
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

    /// An answer of the store to what was done, in one line.
    pub(crate) fn of_store(what: &str, error: object_store::Error) -> Self {
        use object_store::Error as Of;
        if let Some(own) = own(&error) {
            return Self::new(own.kind, with_causes(own));
        }
        let kind = match &error {
            Of::NotFound { .. } => ErrorKind::NotFound,
            Of::AlreadyExists { .. } | Of::Precondition { .. } => ErrorKind::Exists,
            Of::PermissionDenied { .. } | Of::Unauthenticated { .. } => ErrorKind::Refused,
            _ if is_local(&error) => ErrorKind::Local,
            _ => ErrorKind::Unavailable,
        };
        let advice = match kind {
            ErrorKind::Refused => {
                " (credentials are those of AWS_PROFILE, AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, or of the \
                 role of the machine)"
            }
            _ => "",
        };
        Self::new(kind, format!("cannot {what}: {}{advice}", reason(&error)))
    }

    /// Returns what kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the same may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Refused | ErrorKind::Local)
    }
}

/// Returns why, of an error whose every layer repeats all below: the last one, and of an answer in XML its message.
fn reason(error: &object_store::Error) -> String {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    let between = |begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        rest.split_once(end).map(|(found, _)| found.to_owned())
    };
    match (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Returns the error of this program that an answer has within it.
fn own(error: &object_store::Error) -> Option<&StoreError> {
    match error {
        object_store::Error::Generic { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

/// Returns whether a file of this machine is what fails.
fn is_local(error: &object_store::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some()) {
            return true;
        }
        source = error.source();
    }
    false
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
