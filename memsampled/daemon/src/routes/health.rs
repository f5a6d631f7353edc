//! `/healthz` and `/metrics`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::answer::{Answer, slow};
use crate::failure::json;
use crate::metrics;
use crate::peer::Peer;
use crate::state::State;
use memsample_client::wire::Health;

pub(super) async fn health(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
) -> Answer {
    let problems = slow(&state, peer, |state| Ok(state.problems())).await?;
    let failing = !problems.is_empty();
    let health = Health {
        status: if failing { "failing" } else { "ok" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        sessions: state.sessions.all().iter().filter(|session| session.is_recording()).count()
            as u64,
        recordings: state.recordings.path().display().to_string(),
        problems,
        protection: state.protection.clone(),
        flight_recorder: state.flight.health(),
    };
    Ok(json(if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, &health))
}

pub(super) async fn metrics(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
) -> Answer {
    let text = slow(&state, peer, move |state| Ok(metrics::text(state, peer))).await?;
    let mut response = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}
