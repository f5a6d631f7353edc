//! `/v1/dump`: a recording is made of the last minutes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Extension, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};

use super::answer::{Answer, short_of_memory, slow};
use super::body::body;
use crate::failure::{Failure, json};
use crate::flight::Reason;
use crate::peer::Peer;
use crate::retention;
use crate::state::State;
use memsample_client::wire::{self, DumpRequest, ErrorCode};

/// How long a dump waits for another one.
const DUMP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn dump(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let body = body(&state, request).await?;
    let request: DumpRequest = match body.is_empty() {
        true => DumpRequest::default(),
        false => wire::parse(&body)?,
    };
    if state.is_ending() {
        return Err(Failure::ending());
    }
    if !state.memory.check(state.options().limits.memory) {
        return Err(short_of_memory(ErrorCode::LimitReached));
    }
    let lock = tokio::time::timeout(DUMP_TIMEOUT, state.flight.lock_dumps()).await;
    let lock = lock.map_err(|_| {
        Failure::new(
            ErrorCode::LimitReached,
            "another dump is being made: try again when it is done",
        )
    })?;
    let made = slow(&state, peer, move |state| {
        // Until it is made, also when the client has gone.
        let _lock = lock;
        let made = state.flight.dump(peer, &request, Reason::Request)?;
        let removed = retention::remove_old(&state.recordings, &state.retention());
        state.counters.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(made)
    })
    .await?;
    let mut response = json(StatusCode::CREATED, &made);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/recordings/{}", made.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
