//! An error with all that led to it.

use std::error::Error;
use std::iter::successors;

/// Returns an error and its causes in one line, the innermost last.
///
/// ```
/// let io = std::io::Error::other("no route to host");
/// assert_eq!(memsample_input::with_causes(&io), "no route to host");
/// ```
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
