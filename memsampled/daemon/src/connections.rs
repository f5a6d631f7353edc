//! Accepts connections, within bounds, and serves them.
//!
//! | what | bound | why |
//! |---|---|---|
//! | connections | `limits.connections`, the last 32 for root; half for one user | one descriptor each |
//! | header of a request | 16 KiB, 64 fields, 10 s | a client that sends a byte a second |
//! | body of a request | 256 KiB, 10 s | see `wire::limits` |
//! | a connection | one hour | a client that does not read its answer |

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
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
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::failure::Failure;
use super::guard::Guard;
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

/// The answer to a connection beyond the limit. It is written at once or not at all.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 98\r\n\r\n\
    {\"code\":\"unavailable\",\"message\":\"too many connections: close one, or raise `limits.connections`\"}\n";

/// Counts connections, in all and by user.
#[derive(Default)]
pub(super) struct ConnectionCounts(Mutex<HashMap<u32, usize>>);

/// A slot among the connections, until dropped.
struct Slot {
    counts: Arc<ConnectionCounts>,
    uid: u32,
}

impl ConnectionCounts {
    fn take(self: &Arc<Self>, peer: Peer, limit: usize) -> Option<Slot> {
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
        free.then(|| Slot { counts: Arc::clone(self), uid: peer.uid })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
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

/// What accepts connections.
pub(super) enum Listener {
    /// The socket: the kernel says who has connected.
    Unix(UnixListener),
    /// A loopback address: the guard checks the token of each request.
    Tcp(TcpListener, Arc<Caller>),
}

/// A connection as it was accepted.
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Makes a listener of TCP whose requests the guard checks.
    pub(super) fn guarded(listener: TcpListener, guard: Guard) -> Self {
        Self::Tcp(listener, Arc::new(Caller::Guarded(guard)))
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, _) => Ok(Accepted::Tcp(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    /// Returns the user for whom a connection counts.
    fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Unix(stream) => Peer::of(stream),
            // Who connects is not known before the token is.
            Self::Tcp(_) => Ok(Peer { uid: u32::MAX, gid: u32::MAX, pid: None }),
        }
    }

    /// Answers a connection too many.
    fn refuse(&self) {
        let _ = match self {
            Self::Unix(stream) => stream.try_write(TOO_MANY),
            Self::Tcp(stream) => stream.try_write(TOO_MANY),
        };
    }
}

/// Serves what connects, until the daemon ends.
pub(super) async fn serve(listener: Listener, router: Router, state: Arc<State>) {
    let counts = Arc::new(ConnectionCounts::default());
    let lookups = Arc::new(Semaphore::new(LOOKUPS));
    let mut ending = state.ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let Some(stream) = accepted_or_pause(accepted).await else { continue };
        // A client that is gone already.
        let Ok(peer) = stream.peer() else { continue };
        let options = state.options();
        let Some(slot) = counts.take(peer, options.limits.connections) else {
            Counters::add(&state.counters.connections_refused);
            stream.refuse();
            continue;
        };
        let guarded = match &listener {
            Listener::Unix(_) => None,
            Listener::Tcp(_, caller) => Some(Arc::clone(caller)),
        };
        let (router, state, lookups) = (router.clone(), Arc::clone(&state), Arc::clone(&lookups));
        tokio::spawn(async move {
            let caller = match guarded {
                Some(caller) => caller,
                None if peer.is_allowed(&options, &lookups).await => {
                    Arc::new(Caller::Granted(peer))
                }
                None => Arc::new(Caller::Refused(peer)),
            };
            match stream {
                Accepted::Unix(stream) => serve_connection(stream, caller, router, state).await,
                Accepted::Tcp(stream) => serve_connection(stream, caller, router, state).await,
            }
            drop(slot);
        });
    }
}

/// The user behind the requests of a connection.
pub(super) enum Caller {
    Granted(Peer),
    Refused(Peer),
    Guarded(Guard),
}

impl Caller {
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

async fn accepted_or_pause(accepted: io::Result<Accepted>) -> Option<Accepted> {
    match accepted {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::warn!("cannot accept a connection: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection<S>(stream: S, caller: Arc<Caller>, router: Router, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = OpenConnection::new(&state.counters.connections);
    let mut ending = state.ending.clone();
    let for_requests = Arc::clone(&state);
    let service = service_fn(move |request| {
        answer(request, Arc::clone(&caller), router.clone(), Arc::clone(&for_requests))
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
        // A client may break off.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}

async fn answer(
    mut request: Request<Incoming>,
    caller: Arc<Caller>,
    mut router: Router,
    state: Arc<State>,
) -> Result<Response, Infallible> {
    let response = match caller.check(&request) {
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
struct OpenConnection<'a>(&'a AtomicU64);

impl<'a> OpenConnection<'a> {
    fn new(connections: &'a AtomicU64) -> Self {
        connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for OpenConnection<'_> {
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
    fn one_user_cannot_take_all_slots_and_root_always_has_some() {
        let counts = Arc::new(ConnectionCounts::default());
        let peer = |uid| Peer { uid, gid: uid, pid: None };
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
