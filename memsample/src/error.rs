//! Why bytes could not be parsed, and why a process gave no numbers.

use std::fmt;
use std::io;

/// Why bytes from `/proc` could not be parsed.
///
/// `Copy`, so that the sampling loop never allocates for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The field that could not be read, by its name in `proc(5)`.
    pub field: &'static str,
    /// What was wrong with it.
    pub kind: ParseErrorKind,
}

/// What was wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The bytes end before the field: a truncated file, or an older kernel.
    Missing,
    /// The field is not a decimal number.
    NotANumber,
    /// The number does not fit the type, or not once it is converted to bytes or nanoseconds.
    OutOfRange,
}

impl ParseError {
    pub(crate) const fn missing(field: &'static str) -> Self {
        Self { field, kind: ParseErrorKind::Missing }
    }

    pub(crate) const fn out_of_range(field: &'static str) -> Self {
        Self { field, kind: ParseErrorKind::OutOfRange }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ParseErrorKind::Missing => "is missing",
            ParseErrorKind::NotANumber => "is not a number",
            ParseErrorKind::OutOfRange => "is out of range",
        };
        write!(f, "field `{}` {what}", self.field)
    }
}

impl std::error::Error for ParseError {}

/// Why a file of a process gave no value.
///
/// The sampler counts these; none of them stops a sweep.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The process ended before or while it was read (`ENOENT`, `ESRCH`).
    Gone,
    /// The kernel refused (`EACCES`, `EPERM`): another user's process, `hidepid`, a container.
    Denied,
    /// No descriptor was free (`EMFILE`, `ENFILE`); the file can be read at a later tick.
    NoDescriptor,
    /// The reading did not come back: it waits for a lock of the process that somebody holds, such as that of its
    /// memory map while it waits for a frozen file system. The file can be read when the lock is free.
    Stuck,
    /// Any other failure of the system call.
    Io(io::Error),
    /// The file was read and is not what `proc(5)` says.
    Parse(ParseError),
}

impl From<rustix::io::Errno> for ReadError {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE => Self::NoDescriptor,
            other => Self::Io(other.into()),
        }
    }
}

impl From<ParseError> for ReadError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("process ended"),
            Self::Denied => f.write_str("permission denied"),
            Self::NoDescriptor => f.write_str("no file descriptor free"),
            Self::Stuck => f.write_str("the kernel does not answer: a lock of the process is held"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Parse(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Parse(error) => Some(error),
            Self::Gone | Self::Denied | Self::NoDescriptor | Self::Stuck => None,
        }
    }
}
