//! Answers that are not a success: their codes and bodies.

use serde::{Deserialize, Serialize};

/// What went wrong, for programs. The words are stable; so is the status that belongs to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The body is not JSON.
    MalformedJson,
    /// A name in the path cannot be one.
    InvalidName,
    /// A token is missing or wrong.
    Unauthorized,
    /// This user may not do this.
    Forbidden,
    /// There is no such path.
    NoSuchRoute,
    /// There is no such session.
    NoSuchSession,
    /// There is no such recording, or no such file in it.
    NoSuchRecording,
    /// There is no such process or control group to be recorded.
    NoSuchTarget,
    /// The path has no such method.
    MethodNotAllowed,
    /// The session was stopped before.
    AlreadyStopped,
    /// The session ended without a stop; stop it to learn how it ended.
    SessionEnded,
    /// The daemon has no flight recorder of which a dump could be made.
    NoFlightRecorder,
    /// The body did not come in time.
    TooSlow,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body is JSON, but not such a request: an unknown field, a wrong type, a value out of range.
    InvalidRequest,
    /// The request is one, but asks for more than this daemon is set to grant anybody.
    BeyondLimit,
    /// This daemon is set to allow no more at a time.
    LimitReached,
    /// More marks wait to be written than the queue holds.
    TooManyMarks,
    /// The daemon is ending, or is not reached in time.
    Unavailable,
    /// The disk is full.
    DiskFull,
    /// The daemon or the system failed: the message says at what, and is in the log too.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 22] = [
        Self::MalformedJson,
        Self::InvalidName,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NoSuchRoute,
        Self::NoSuchSession,
        Self::NoSuchRecording,
        Self::NoSuchTarget,
        Self::MethodNotAllowed,
        Self::AlreadyStopped,
        Self::SessionEnded,
        Self::NoFlightRecorder,
        Self::TooSlow,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidRequest,
        Self::BeyondLimit,
        Self::LimitReached,
        Self::TooManyMarks,
        Self::Unavailable,
        Self::DiskFull,
        Self::Internal,
    ];

    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedJson | Self::InvalidName => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::BeyondLimit => 403,
            Self::NoSuchRoute
            | Self::NoSuchSession
            | Self::NoSuchRecording
            | Self::NoSuchTarget => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::AlreadyStopped | Self::SessionEnded | Self::NoFlightRecorder => 409,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidRequest => 422,
            Self::LimitReached | Self::TooManyMarks => 429,
            Self::Unavailable => 503,
            Self::DiskFull => 507,
            Self::Internal => 500,
        }
    }
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong and what to do, for people.
    pub message: String,
}
