//! The body of a request, read within bounds of size and time.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::failure::Failure;
use crate::state::State;
use memsample_client::wire::{ErrorCode, limits};

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that is larger needs one of a few permits.
const SMALL_BODY_BYTES: u64 = 16 << 10;

/// Reads a body of JSON.
pub(super) async fn body(state: &State, request: Request) -> Result<Bytes, Failure> {
    let is_json = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = is_json.map(|value| {
        let media_type = value.split(';').next().unwrap_or("").trim();
        media_type.eq_ignore_ascii_case("application/json")
    });
    let too_large = || {
        Failure::new(
            ErrorCode::BodyTooLarge,
            format!("the body has more than {} bytes", limits::BODY_BYTES),
        )
    };
    // As it says; what does not say it may be as large as any.
    let is_small =
        request.body().size_hint().upper().is_some_and(|upper| upper <= SMALL_BODY_BYTES);
    let _permit = if is_small {
        None
    } else {
        Some(state.bodies.try_acquire().map_err(|_| {
            Failure::new(
                ErrorCode::LimitReached,
                "many large bodies are being read: try again in a second, or send less at once",
            )
        })?)
    };
    let body = Limited::new(request.into_body(), limits::BODY_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Failure::new(
                ErrorCode::MalformedJson,
                format!("the body broke off: {error}"),
            ));
        }
        Err(_) => {
            return Err(Failure::new(
                ErrorCode::TooSlow,
                format!("the body took more than {BODY_TIMEOUT:?}: send it at once"),
            ));
        }
    };
    if body.is_empty() || is_json == Some(true) {
        return Ok(body);
    }
    Err(Failure::new(
        ErrorCode::UnsupportedMediaType,
        "the body must be JSON and say so: `Content-Type: application/json` (with curl: --json)",
    ))
}
