use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::ErrorCode;

/// What a client sends as a body.
pub trait Request: DeserializeOwned {
    /// Says what is out of range.
    ///
    /// # Errors
    ///
    /// What to send instead.
    fn check(&self) -> Result<(), String>;
}

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`ErrorCode::MalformedJson`] or [`ErrorCode::InvalidRequest`].
    pub code: ErrorCode,
    /// What to send instead.
    pub message: String,
}

/// Reads a request from the bytes of a body. Any bytes are read or refused.
///
/// # Errors
///
/// The bytes are not JSON, or not such a request.
pub fn parse<R: Request>(body: &[u8]) -> Result<R, Refusal> {
    let request: R = serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Refusal { code: ErrorCode::InvalidRequest, message: error.to_string() },
        _ => Refusal {
            code: ErrorCode::MalformedJson,
            message: format!("the body is not JSON: {error}"),
        },
    })?;
    match request.check() {
        Ok(()) => Ok(request),
        Err(message) => Err(Refusal { code: ErrorCode::InvalidRequest, message }),
    }
}

/// Checks how long a text is, in characters.
pub(super) fn check_length(what: &str, text: &str, min: usize, max: usize) -> Result<(), String> {
    let length = text.chars().count();
    match length {
        length if length < min => Err(format!("{what} is empty")),
        length if length > max => {
            Err(format!("{what} has {length} characters, and may have at most {max}"))
        }
        _ => Ok(()),
    }
}
