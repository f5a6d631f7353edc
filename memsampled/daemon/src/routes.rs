//! Which request does what.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::failure::{Failure, json};
use super::flight::Reason;
use super::peer::Peer;
use super::session::ActiveSession;
use super::sessions::ending;
use super::state::{Counters, State};
use super::{live, metrics};
use memsample_client::wire::{
    self, DumpRequest, ErrorCode, Health, MarkRequest, SessionList, StartRequest, limits,
};

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a dump waits for another one.
const DUMP_PATIENCE: Duration = Duration::from_secs(10);
/// A body that is larger needs one of a few places.
const SMALL_BODY_BYTES: u64 = 16 << 10;
/// A file is sent in pieces of this size, of which one is in memory.
const FILE_PIECE_BYTES: usize = 64 << 10;

/// What can be asked for. `docs/openapi.yaml` describes each under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Says whether the daemon works.
    GetHealth,
    /// Numbers for Prometheus.
    GetMetrics,
    /// Begins a session.
    StartSession,
    /// Lists sessions.
    ListSessions,
    /// Describes a session.
    GetSession,
    /// Sets a mark.
    MarkSession,
    /// Ends a session.
    StopSession,
    /// Sends what a session sees, once a second.
    WatchSession,
    /// Makes a recording of the last minutes.
    Dump,
    /// Lists recordings.
    ListRecordings,
    /// Describes a recording.
    GetRecording,
    /// Sends a file of a recording.
    GetRecordingFile,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::GetHealth,
        Self::GetMetrics,
        Self::StartSession,
        Self::ListSessions,
        Self::GetSession,
        Self::MarkSession,
        Self::StopSession,
        Self::WatchSession,
        Self::Dump,
        Self::ListRecordings,
        Self::GetRecording,
        Self::GetRecordingFile,
    ];

    /// Returns the method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::StartSession | Self::MarkSession | Self::StopSession | Self::Dump => "POST",
            _ => "GET",
        }
    }

    /// Returns the path, with its parameters in braces.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::GetHealth => "/healthz",
            Self::GetMetrics => "/metrics",
            Self::StartSession | Self::ListSessions => "/v1/sessions",
            Self::GetSession => "/v1/sessions/{id}",
            Self::MarkSession => "/v1/sessions/{id}/marks",
            Self::StopSession => "/v1/sessions/{id}/stop",
            Self::WatchSession => "/v1/sessions/{id}/live",
            Self::Dump => "/v1/dump",
            Self::ListRecordings => "/v1/recordings",
            Self::GetRecording => "/v1/recordings/{id}",
            Self::GetRecordingFile => "/v1/recordings/{id}/{file}",
        }
    }

    fn handler(self) -> MethodRouter<Arc<State>> {
        match self {
            Self::GetHealth => get(health),
            Self::GetMetrics => get(metrics),
            Self::StartSession => post(start_session),
            Self::ListSessions => get(list_sessions),
            Self::GetSession => get(get_session),
            Self::MarkSession => post(mark_session),
            Self::StopSession => post(stop_session),
            Self::WatchSession => get(watch_session),
            Self::Dump => post(dump),
            Self::ListRecordings => get(list_runs),
            Self::GetRecording => get(get_run),
            Self::GetRecordingFile => get(get_run_file),
        }
    }
}

/// Makes the router: every operation, and clear answers to all else.
pub(super) fn router(state: Arc<State>) -> Router {
    let router = Operation::ALL.into_iter().fold(Router::new(), |router, operation| {
        router.route(operation.path(), operation.handler())
    });
    router
        .method_not_allowed_fallback(async || {
            Failure::new(
                ErrorCode::MethodNotAllowed,
                "this path has no such method: see the header Allow",
            )
        })
        .fallback(async || {
            Failure::new(
                ErrorCode::NoSuchRoute,
                "there is no such path: docs/control-api.md lists them",
            )
        })
        .with_state(state)
}

type Answer = Result<Response, Failure>;
type Id = Result<Path<String>, PathRejection>;

async fn health(Shared(state): Shared<Arc<State>>, Extension(peer): Extension<Peer>) -> Answer {
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

async fn metrics(Shared(state): Shared<Arc<State>>, Extension(peer): Extension<Peer>) -> Answer {
    let text = slow(&state, peer, move |state| Ok(metrics::text(state, peer))).await?;
    let mut response = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

async fn start_session(
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
        return Err(ending());
    }
    if !state.memory.look(state.options().limits.memory) {
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

async fn list_sessions(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    let sessions = state.sessions.visible(peer);
    let sessions = sessions.iter().map(|session| session.describe()).collect();
    json(StatusCode::OK, &SessionList { sessions })
}

async fn get_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let session = find(&state, peer, parameter(id)?).await?;
    session.touch();
    Ok(json(StatusCode::OK, &session.describe()))
}

async fn mark_session(
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
    find(&state, peer, id).await?.mark(&mark)?;
    Counters::add(&state.counters.marks);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn stop_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let id = parameter(id)?;
    let stopped = slow(&state, peer, move |state| {
        let stopped = state.sessions.stop(peer, &id)?;
        let removed = super::retention::remove_old(&state.recordings, &state.retention());
        state.counters.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(stopped)
    })
    .await?;
    Ok(json(StatusCode::OK, &stopped))
}

async fn watch_session(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let session = find(&state, peer, parameter(id)?).await?;
    let mut response =
        Response::new(Body::from_stream(live::events(session, state.ending.clone())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn dump(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    // It holds the processes of all, from before anybody asked for a recording.
    if !peer.is_root() && peer.uid != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(
            ErrorCode::Forbidden,
            "a dump holds the last minutes of everybody: only root and the user of the daemon may make one",
        ));
    }
    let body = body(&state, request).await?;
    let request: DumpRequest = match body.is_empty() {
        true => DumpRequest::default(),
        false => wire::parse(&body)?,
    };
    if state.is_ending() {
        return Err(ending());
    }
    if !state.memory.look(state.options().limits.memory) {
        return Err(short_of_memory(ErrorCode::LimitReached));
    }
    let turn = tokio::time::timeout(DUMP_PATIENCE, state.flight.turn()).await;
    let turn = turn.map_err(|_| {
        Failure::new(
            ErrorCode::LimitReached,
            "another dump is being made: try again when it is done",
        )
    })?;
    let made = slow(&state, peer, move |state| {
        // Until it is made, also when the client has gone.
        let _turn = turn;
        let made = state.flight.dump(peer, &request, Reason::Request)?;
        let removed = super::retention::remove_old(&state.recordings, &state.retention());
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

async fn list_runs(Shared(state): Shared<Arc<State>>, Extension(peer): Extension<Peer>) -> Answer {
    let recordings = slow(&state, peer, move |state| state.recordings.list(peer)).await?;
    Ok(json(StatusCode::OK, &recordings))
}

async fn get_run(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    id: Id,
) -> Answer {
    let id = parameter(id)?;
    let run = slow(&state, peer, move |state| state.recordings.info(peer, &id)).await?;
    Ok(json(StatusCode::OK, &run))
}

async fn get_run_file(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer {
    let Path((id, name)) = path.map_err(invalid_name)?;
    let content_type = match name.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "parquet")) => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    };
    let (file, bytes) =
        slow(&state, peer, move |state| state.recordings.file(peer, &id, &name)).await?;
    // No more than was promised, also if it grows: a file is replaced, never appended to.
    let mut response = Response::new(Body::from_stream(pieces(state, peer, file, bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Reads a file piece by piece, each when the one before is sent.
fn pieces(
    state: Arc<State>,
    peer: Peer,
    file: std::fs::File,
    bytes: u64,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, bytes), move |(file, left)| {
        let state = Arc::clone(&state);
        async move {
            if left == 0 {
                return Ok(None);
            }
            let read = move |_: &Arc<State>| Ok(read_piece(file, left));
            let read = slow(&state, peer, read).await;
            read.unwrap_or_else(|failure| Err(std::io::Error::other(failure.message))).map(Some)
        }
    })
}

/// Reads a piece, and returns it with what is left.
fn read_piece(file: std::fs::File, left: u64) -> std::io::Result<(Bytes, (std::fs::File, u64))> {
    use std::io::Read;
    let mut piece = Vec::with_capacity(FILE_PIECE_BYTES);
    let read = (&file).take(left.min(FILE_PIECE_BYTES as u64)).read_to_end(&mut piece)?;
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((Bytes::from(piece), (file, left - read as u64)))
}

/// Does slow work for a request, when it is its turn.
async fn slow<T: Send + 'static>(
    state: &Arc<State>,
    peer: Peer,
    work: impl FnOnce(&Arc<State>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let of_work = Arc::clone(state);
    state.work.run(peer, move || work(&of_work)).await
}

/// Returns a session that the peer may see. Only why there is none is to be looked for on the disk.
async fn find(state: &Arc<State>, peer: Peer, id: String) -> Result<Arc<ActiveSession>, Failure> {
    match state.sessions.find(peer, &id)? {
        Some(session) => Ok(session),
        None => slow(state, peer, move |state| Err(state.sessions.absent(peer, &id))).await,
    }
}

/// Reads a body of JSON.
async fn body(state: &State, request: Request) -> Result<Bytes, Failure> {
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
    let _place = if is_small {
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

fn short_of_memory(code: ErrorCode) -> Failure {
    Failure::new(
        code,
        "the daemon has as much in memory as it may: stop a session, try again when its disk has caught up, or \
         raise `daemon.limits.memory`",
    )
}

fn parameter(id: Id) -> Result<String, Failure> {
    id.map(|Path(id)| id).map_err(invalid_name)
}

fn invalid_name(rejection: PathRejection) -> Failure {
    Failure::new(ErrorCode::InvalidName, format!("the path is not understood: {rejection}"))
}
