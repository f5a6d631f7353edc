//! A client of the daemon: one connection, one request after the other.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::wire::{
    DumpRequest, ErrorBody, Health, MarkRequest, ProcessList, Session, SessionList, StartRequest,
    Stopped, is_id,
};

/// Names the socket for programs that are started.
pub const SOCKET_VARIABLE: &str = "MEMSAMPLE_SOCKET";
/// Names the session for programs that are started.
pub const SESSION_VARIABLE: &str = "MEMSAMPLE_SESSION";

/// The largest answer, in bytes: a list of sessions, or of processes.
const ANSWER_BYTES: usize = 64 << 20;

/// Why a request failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon listens on the socket.
    NoDaemon(PathBuf),
    /// The socket cannot be used.
    Connect(PathBuf, io::Error),
    /// The connection broke, or took too long.
    Broken(String),
    /// The daemon refused.
    Refused(StatusCode, ErrorBody),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(path) => write!(
                f,
                "no daemon listens on `{socket}`: start one with `memsampled --socket {socket}`, or with \
                 `systemctl start memsampled`",
                socket = path.display()
            ),
            Self::Connect(path, _) => write!(f, "cannot connect to `{}`", path.display()),
            Self::Broken(reason) => write!(f, "the daemon did not answer: {reason}"),
            Self::Refused(_, body) => f.write_str(&body.message),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(_, error) => Some(error),
            _ => None,
        }
    }
}

/// A connection to a daemon.
///
/// ```no_run
/// use memsample_client::wire::{MarkKind, MarkRequest, StartRequest};
/// use memsample_client::Client;
///
/// let mut client = Client::connect("/run/memsampled/memsampled.sock".as_ref())?;
/// let session = client.start(&StartRequest::default())?;
/// let test = MarkRequest { kind: MarkKind::Begin, name: "test_load".into(), ..MarkRequest::default() };
/// client.mark(&session.id, &test)?;
/// println!("{}", client.stop(&session.id)?.recording);
/// # Ok::<(), memsample_client::ClientError>(())
/// ```
pub struct Client {
    runtime: Runtime,
    socket: PathBuf,
    sender: SendRequest<Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// How long an answer may take unless [`timeout`](Self::timeout) says otherwise: closing a large recording is the
    /// slowest.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Connects to the daemon that listens on `socket`.
    ///
    /// # Errors
    ///
    /// No daemon listens there, or this user may not connect.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| ClientError::Connect(socket.to_owned(), error))?;
        let sender = runtime.block_on(open(socket))?;
        Ok(Self { runtime, socket: socket.to_owned(), sender, timeout: Self::TIMEOUT })
    }

    /// Waits no longer than this for an answer, instead of [`TIMEOUT`](Self::TIMEOUT).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn start(&mut self, request: &StartRequest) -> Result<Session, ClientError> {
        self.send("POST", "/v1/sessions", Some(request))
    }

    /// Sets a mark.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn mark(&mut self, id: &str, request: &MarkRequest) -> Result<(), ClientError> {
        self.exchange("POST", &path(id, "/marks")?, Some(request)).map(drop)
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn stop(&mut self, id: &str) -> Result<Stopped, ClientError> {
        self.send("POST", &path(id, "/stop")?, None::<&()>)
    }

    /// Makes a recording of the last minutes.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn dump(&mut self, request: &DumpRequest) -> Result<Stopped, ClientError> {
        self.send("POST", "/v1/dump", Some(request))
    }

    /// Describes a session.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn session(&mut self, id: &str) -> Result<Session, ClientError> {
        self.send("GET", &path(id, "")?, None::<&()>)
    }

    /// Lists the processes of a session with their memory at its latest tick.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn processes(&mut self, id: &str) -> Result<ProcessList, ClientError> {
        self.send("GET", &path(id, "/processes")?, None::<&()>)
    }

    /// Lists the sessions.
    ///
    /// # Errors
    ///
    /// The daemon refused or did not answer.
    pub fn sessions(&mut self) -> Result<SessionList, ClientError> {
        self.send("GET", "/v1/sessions", None::<&()>)
    }

    /// Returns the health of the daemon, also while it is failing.
    ///
    /// # Errors
    ///
    /// The daemon did not answer.
    pub fn health(&mut self) -> Result<Health, ClientError> {
        let (_, body) = self.answer("GET", "/healthz", None::<&()>)?;
        parse(&body)
    }

    fn send<A: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<A, ClientError> {
        let body = self.exchange(method, path, body)?;
        parse(&body)
    }

    /// Sends a request and returns the body of a success.
    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ClientError> {
        let (status, body) = self.answer(method, path, body)?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(error) => Err(ClientError::Refused(status, error)),
            Err(_) => Err(ClientError::Broken(format!("it said {status} and no more"))),
        }
    }

    fn answer(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |error: &dyn fmt::Display| ClientError::Broken(error.to_string());
        let mut request = Request::builder().method(method).uri(path).header("host", "memsampled");
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                serde_json::to_vec(body).map_err(|error| broken(&error))?
            }
            None => Vec::new(),
        };
        let request = request.body(Full::from(body)).map_err(|error| broken(&error))?;
        let Self { sender, socket, .. } = self;
        let timeout = self.timeout;
        let exchange = async {
            // The daemon closes a connection on which nothing comes for ten seconds, which may be noticed
            // only now. What was not sent can be sent again.
            let answered = match sender.ready().await {
                Ok(()) => sender.send_request(request.clone()).await,
                Err(error) => Err(error),
            };
            let response = match answered {
                Err(error) if was_not_sent(&error) => {
                    *sender = open(socket).await?;
                    sender.send_request(request).await
                }
                answered => answered,
            };
            let response = response.map_err(|error| broken(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            Ok((status, body.map_err(|error| broken(&error))?.to_bytes()))
        };
        self.runtime.block_on(async {
            tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
                Err(ClientError::Broken(format!("it took more than {timeout:?}")))
            })
        })
    }
}

/// Whether the daemon cannot have read a whole request: it was not begun, or the connection broke while it was written.
fn was_not_sent(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|it| it.downcast_ref::<io::Error>());
    error.is_canceled()
        || error.is_closed()
        || source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}

/// Opens a connection.
async fn open(socket: &Path) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NoDaemon(socket.to_owned())
        }
        _ => ClientError::Connect(socket.to_owned(), error),
    })?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    // A request reports how the connection ended.
    tokio::spawn(connection);
    Ok(sender)
}

fn parse<A: DeserializeOwned>(body: &[u8]) -> Result<A, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        ClientError::Broken(format!("it said what this client does not understand: {error}"))
    })
}

/// Returns the path of a session. Only a valid id becomes part of a path.
fn path(id: &str, rest: &str) -> Result<String, ClientError> {
    if !is_id(id) {
        return Err(ClientError::Broken(format!("`{}` is no session", id.escape_debug())));
    }
    Ok(format!("/v1/sessions/{id}{rest}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::channel;

    use super::*;

    /// Reads one request and answers that there is nothing to say.
    fn answer_one(listener: &UnixListener) -> String {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"}") {
            let length = stream.read(&mut piece).unwrap();
            request.extend_from_slice(piece.get(..length).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let (closed, is_closed) = channel();
        let daemon = std::thread::spawn(move || {
            for number in 0..20 {
                // Closes the connection behind each answer, as after ten seconds in which nothing comes.
                assert!(answer_one(&listener).contains(&format!("m{number}\"")));
                closed.send(()).unwrap();
            }
        });
        let mut client = Client::connect(&socket).unwrap();
        for number in 0..20 {
            let mark = MarkRequest { name: format!("m{number}"), ..MarkRequest::default() };
            client.mark("session", &mark).unwrap();
            is_closed.recv().unwrap();
        }
        daemon.join().unwrap();
    }
}
