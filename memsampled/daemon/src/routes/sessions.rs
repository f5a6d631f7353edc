//! `/v1/sessions`: sessions are started, marked, watched and stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Extension, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};

use super::answer::{Answer, Id, parameter, short_of_memory, slow};
use super::body::body;
use crate::failure::{Failure, json};
use crate::marked_pid::MarkedPid;
use crate::peer::Peer;
use crate::session::ActiveSession;
use crate::state::{Counters, State};
use crate::{live, retention};
use memsample_client::wire::{self, ErrorCode, MarkRequest, SessionList, StartRequest};

pub(super) async fn start_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let body = body(&state, request).await?;
    let request: StartRequest = match body.is_empty() {
        true => StartRequest::default(),
        false => wire::parse(&body)?,
    };
    if state.is_ending() {
        return Err(Failure::ending());
    }
    if !state.memory.check(state.options().limits.memory) {
        return Err(short_of_memory(ErrorCode::LimitReached));
    }
    let start = move |state: &Arc<State>| state.sessions.start(peer, &request, &state.options());
    let session = slow(&state, peer, start).await?;
    let mut response = json(StatusCode::CREATED, &session.describe());
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/sessions/{}", session.id())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn list_sessions(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    let sessions = state.sessions.visible(peer);
    let sessions = sessions.iter().map(|session| session.describe()).collect();
    json(StatusCode::OK, &SessionList { sessions })
}

pub(super) async fn get_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let session = touched(&state, peer, id).await?;
    Ok(json(StatusCode::OK, &session.describe()))
}

pub(super) async fn mark_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
    request: Request,
) -> Answer {
    let id = parameter(id)?;
    let body = body(&state, request).await?;
    let mark: MarkRequest = wire::parse(&body)?;
    if !state.memory.has_room(body.len() as u64, state.options().limits.memory) {
        return Err(short_of_memory(ErrorCode::TooManyMarks));
    }
    let session = find(&state, peer, id).await?;
    let pid = match mark.pid.map(|pid| (pid, MarkedPid::of(peer, pid))) {
        Some((_, MarkedPid::Here(pid))) => Some(pid),
        // Every process is looked at; the client waits meanwhile, so that its state is still that of the mark.
        Some((pid, MarkedPid::Within(namespace))) => {
            slow(&state, peer, move |_| Ok(namespace.process(pid))).await?
        }
        Some((_, MarkedPid::Unknown)) | None => None,
    };
    session.mark(&mark, pid)?;
    Counters::add(&state.counters.marks);
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn stop_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let id = parameter(id)?;
    let stopped = slow(&state, peer, move |state| {
        let stopped = state.sessions.stop(peer, &id)?;
        let removed = retention::remove_old(&state.recordings, &state.retention());
        state.counters.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(stopped)
    })
    .await?;
    Ok(json(StatusCode::OK, &stopped))
}

pub(super) async fn list_processes(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let session = touched(&state, peer, id).await?;
    // Of many processes it takes some milliseconds, in which others are answered.
    slow(&state, peer, move |_| Ok(json(StatusCode::OK, &session.processes()))).await
}

pub(super) async fn watch_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let session = find(&state, peer, parameter(id)?).await?;
    let mut response = Sse::new(live::events(session, state.ending.clone())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns a session that the peer asks about, which keeps it from being idle.
async fn touched(state: &Arc<State>, peer: Peer, id: Id) -> Result<Arc<ActiveSession>, Failure> {
    let session = find(state, peer, parameter(id)?).await?;
    session.touch();
    Ok(session)
}

/// Returns a session that the peer may see. Reads the disk only to find out why there is none.
async fn find(state: &Arc<State>, peer: Peer, id: String) -> Result<Arc<ActiveSession>, Failure> {
    match state.sessions.find(peer, &id)? {
        Some(session) => Ok(session),
        None => slow(state, peer, move |state| Err(state.sessions.absent(peer, &id))).await,
    }
}
