//! Answers that are not a success, and answers in JSON.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use memsample_client::wire::{ErrorBody, ErrorCode, Refusal};
use memsample_inherited::advice;
use memsample_input::with_causes;

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The refusal of a daemon that ends.
    pub(super) fn ending() -> Self {
        Self::new(ErrorCode::Unavailable, "the daemon is ending: try again when it runs again")
    }

    /// The same as [`Self::internal`], with all that has led to an error.
    pub(super) fn internal_caused(doing: &str, error: &dyn std::error::Error) -> Self {
        Self::internal(doing, with_causes(error))
    }

    /// An error of the system that the client cannot help, for the log too.
    pub(super) fn internal(doing: &str, error: impl fmt::Display) -> Self {
        let error = error.to_string();
        let advice = advice(&error).map_or(String::new(), |advice| format!("; {advice}"));
        tracing::error!("{doing}: {error}{advice}");
        Self::new(ErrorCode::Internal, format!("{doing} failed: {error}{advice}"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { code, message } = self;
        let status =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &ErrorBody { code, message });
        if code == ErrorCode::Unauthorized {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Makes an answer of JSON, ended by a line feed for those who read it in a terminal.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let Ok(mut text) = serde_json::to_vec(value) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    text.push(b'\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
