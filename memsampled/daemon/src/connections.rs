//! Accepts connections, within bounds, and serves them.
//!
//! | what | bound | why |
//! |---|---|---|
//! | connections | `limits.connections`, the last 32 for root; half for one user | one descriptor each |
//! | header of a request | 16 KiB, 64 fields, 10 s | a client that sends a byte a second |
//! | body of a request | 256 KiB, 10 s | see `api::limits` |
//! | a connection | one hour | a client that does not read its answer |

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::failure::Failure;
use super::guard::Guard;
use super::log;
use super::peer::{LOOKUPS, Peer};
use super::state::{Counters, State};
use memsample_client::wire::ErrorCode;

/// How long the header of a request may take, and a connection may wait for the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest header, in bytes, and what is kept in memory of an answer.
const HEADER_BYTES: usize = 16 << 10;
/// The fields of a header.
const HEADER_FIELDS: usize = 64;
/// The longest connection. A client of live events connects again.
const CONNECTION_LIFE: Duration = Duration::from_secs(3600);
/// How long an answer may take that has begun when the connection ends.
const GRACE: Duration = Duration::from_secs(1);
/// Connections kept for root.
const FOR_ROOT: usize = 32;
/// When the system has no descriptor left, it will not have one at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is answered to a connection too many. It is written at once or not at all.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 98\r\n\r\n\
    {\"code\":\"unavailable\",\"message\":\"too many connections: close one, or raise `limits.connections`\"}\n";

/// Counts connections, in all and by user.
#[derive(Default)]
pub(super) struct ConnectionCounts(Mutex<HashMap<u32, usize>>);

/// A place among the connections, until dropped.
struct Place {
    counts: Arc<ConnectionCounts>,
    uid: u32,
}

impl ConnectionCounts {
    fn take(self: &Arc<Self>, peer: Peer, limit: usize) -> Option<Place> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let own = counts.entry(peer.uid).or_default();
        let for_root = FOR_ROOT.min(limit / 4);
        let free =
            peer.is_root() && all < limit || all < limit - for_root && *own < (limit / 2).max(1);
        *own += usize::from(free);
        if *own == 0 {
            counts.remove(&peer.uid);
        }
        free.then(|| Place { counts: Arc::clone(self), uid: peer.uid })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.counts();
        if let Some(own) = counts.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// Serves what connects to the socket, until the daemon ends.
pub(super) async fn serve_unix(listener: UnixListener, router: Router, state: Arc<State>) {
    let counts = Arc::new(ConnectionCounts::default());
    let lookups = Arc::new(Semaphore::new(LOOKUPS));
    let mut ending = state.ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let Some(stream) = accepted_or_pause(accepted.map(|(stream, _)| stream)).await else {
            continue;
        };
        // A client that is gone already.
        let Ok(peer) = Peer::of(&stream) else { continue };
        let options = state.options();
        let Some(place) = counts.take(peer, options.limits.connections) else {
            Counters::add(&state.counters.connections_refused);
            let _ = stream.try_write(TOO_MANY);
            continue;
        };
        let (router, state, lookups) = (router.clone(), Arc::clone(&state), Arc::clone(&lookups));
        tokio::spawn(async move {
            let allowed = peer.is_allowed(&options, &lookups).await;
            let access = if allowed { Access::Granted(peer) } else { Access::Refused(peer) };
            serve_connection(stream, Arc::new(access), router, state).await;
            drop(place);
        });
    }
}

/// Serves what connects over TCP, until the daemon ends.
pub(super) async fn serve_tcp(
    listener: TcpListener,
    guard: Guard,
    router: Router,
    state: Arc<State>,
) {
    let counts = Arc::new(ConnectionCounts::default());
    let access = Arc::new(Access::Guarded(guard));
    let mut ending = state.ending.clone();
    // Who connects is not known before the token is.
    let anybody = Peer { uid: u32::MAX, gid: u32::MAX };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let Some(stream) = accepted_or_pause(accepted.map(|(stream, _)| stream)).await else {
            continue;
        };
        let Some(place) = counts.take(anybody, state.options().limits.connections) else {
            Counters::add(&state.counters.connections_refused);
            let _ = stream.try_write(TOO_MANY);
            continue;
        };
        let (router, state, access) = (router.clone(), Arc::clone(&state), Arc::clone(&access));
        tokio::spawn(async move {
            serve_connection(stream, access, router, state).await;
            drop(place);
        });
    }
}

/// On whose behalf the requests of a connection are.
enum Access {
    Granted(Peer),
    Refused(Peer),
    Guarded(Guard),
}

impl Access {
    fn check(&self, request: &Request<Incoming>) -> Result<Peer, Failure> {
        match self {
            Self::Granted(peer) => Ok(*peer),
            Self::Refused(peer) => Err(Failure::new(
                ErrorCode::Forbidden,
                format!(
                    "user {} may not use this daemon: join the group of its socket, or run one of your own",
                    peer.uid
                ),
            )),
            Self::Guarded(guard) => guard.check(request.headers()),
        }
    }
}

async fn accepted_or_pause<S>(accepted: std::io::Result<S>) -> Option<S> {
    match accepted {
        Ok(stream) => Some(stream),
        Err(error) => {
            log::warning(format_args!("cannot accept a connection: {error}"));
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection<S>(stream: S, access: Arc<Access>, router: Router, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Open::new(&state.counters.connections);
    let mut ending = state.ending.clone();
    let for_requests = Arc::clone(&state);
    let service = service_fn(move |request| {
        answer(request, Arc::clone(&access), router.clone(), Arc::clone(&for_requests))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that breaks off is its own affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}

async fn answer(
    mut request: Request<Incoming>,
    access: Arc<Access>,
    mut router: Router,
    state: Arc<State>,
) -> Result<Response, Infallible> {
    let response = match access.check(&request) {
        Ok(peer) => {
            request.extensions_mut().insert(peer);
            let answered = tower_service::Service::call(&mut router, request.map(Body::new)).await;
            answered.unwrap_or_else(|never| match never {})
        }
        Err(failure) => failure.into_response(),
    };
    let failed = response.status().is_client_error() || response.status().is_server_error();
    state.counters.count_answer(failed);
    Ok(response)
}

/// Counts a connection while it is open.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(connections: &'a AtomicU64) -> Self {
        connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canned_answer_has_the_length_that_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(header.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let error: memsample_client::wire::ErrorBody = serde_json::from_str(body).unwrap();
        assert_eq!(error.code, ErrorCode::Unavailable);
    }

    #[test]
    fn one_user_cannot_take_all_places_and_root_always_has_some() {
        let counts = Arc::new(ConnectionCounts::default());
        let peer = |uid| Peer { uid, gid: uid };
        let take = |uid| counts.take(peer(uid), 100);
        let of_one: Vec<_> = std::iter::from_fn(|| take(1)).collect();
        assert_eq!(of_one.len(), 50);
        let of_another: Vec<_> = std::iter::from_fn(|| take(2)).collect();
        assert_eq!(of_another.len(), 25);
        assert!(take(3).is_none());
        assert_eq!(std::iter::from_fn(|| take(0)).collect::<Vec<_>>().len(), 25);
        drop(of_one);
        assert_eq!(counts.counts().len(), 1);
        drop(of_another);
        assert!(counts.counts().is_empty());
    }
}
