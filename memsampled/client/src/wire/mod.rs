//! What goes over the wire between the daemon and its clients: requests, answers and errors.
//!
//! All of it is JSON, described in `docs/openapi.yaml`. The types are their own, apart from those of the
//! library, so that the one can change without the other. Everything is bounded: see [`limits`].

mod dump;
mod error;
pub mod limits;
mod live;
mod mark;
mod processes;
mod recording;
mod request;
mod session;
mod status;
mod summary;

pub use dump::DumpRequest;
pub use error::{ErrorBody, ErrorCode};
pub use live::{LiveMemory, LiveProcess, LiveRole, LiveSession};
pub use mark::{MarkKind, MarkRequest};
pub use memsample_input::Span;
pub use processes::{ListedProcess, ProcessList};
pub use recording::{
    End, Quantiles, RecordingFile, RecordingInfo, RecordingList, RecordingListEntry,
    RecordingState, Totals,
};
pub use request::{Refusal, Request, parse};
pub use session::{
    Session, SessionLimits, SessionList, SessionState, SessionTotals, StartRequest, Stopped,
    Target, TopProcess,
};
pub use status::{FlightHealth, Health, Protection};
pub use summary::Summary;

/// Returns whether `name` can name a session that is to be started: an id of at most
/// [`limits::NAME_BYTES`].
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES && is_id(name)
}

/// Returns whether `id` can be the id of a session, or the name of its recording or of a file in it:
/// letters, digits, dots, underscores and hyphens, at most [`limits::ID_BYTES`], beginning with a letter
/// or a digit.
///
/// What passes holds no separator and is neither `.` nor `..`, so it cannot lead out of a directory.
#[must_use]
pub fn is_id(id: &str) -> bool {
    id.len() <= limits::ID_BYTES
        && id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
