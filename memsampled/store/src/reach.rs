//! How long a server is tried that cannot be reached.
//!
//! What a server refuses for now is asked again for a minute, and so is a server that was there and is gone. One that
//! this program has never reached is most often a name with a typing error, and who typed it waits: after some seconds
//! no more connections to it are tried.

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use crate::encryption;
use crate::error::NO_CREDENTIALS;

/// How long connections to a server are tried that was never reached. The pause between two tries, which doubles,
/// comes to it.
const NEVER_REACHED: Duration = Duration::from_secs(3);

/// Where servers of clouds hand out the credentials of a machine.
const METADATA: [&str; 2] = ["/computeMetadata/", "/latest/"];

/// Makes clients that give up what they cannot reach.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    connector: ReqwestConnector,
}

/// A client of one server.
#[derive(Debug)]
struct Reaching {
    client: HttpClient,
    first_try: OnceLock<Instant>,
    was_reached: AtomicBool,
}

/// That a server cannot be reached, and why. What is below it is in its text: who prints an error of a store prints the
/// last of its causes.
#[derive(Debug)]
struct Unreachable {
    server: String,
    /// It is asked for the credentials of the machine.
    is_metadata: bool,
    why: String,
}

impl HttpConnector for Reach {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        encryption::choose();
        let client = self.connector.connect(options)?;
        let (first_try, was_reached) = (OnceLock::new(), AtomicBool::new(false));
        Ok(HttpClient::new(Reaching { client, first_try, was_reached }))
    }
}

#[async_trait]
impl HttpService for Reaching {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        let is_metadata = METADATA.iter().any(|path| uri.path().starts_with(path));
        let server = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            // What stands before `@` would be a secret.
            uri.authority().and_then(|it| it.as_str().rsplit('@').next()).unwrap_or_default()
        );
        let first_try = self.first_try.get_or_init(Instant::now);
        let error = match self.client.execute(request).await {
            Err(error) if is_of_connection(&error) => error,
            answered => {
                self.was_reached.store(true, Ordering::Relaxed);
                return answered;
            }
        };
        let gives_up =
            !self.was_reached.load(Ordering::Relaxed) && first_try.elapsed() >= NEVER_REACHED;
        // Of these two kinds object_store repeats the second one.
        let kind = if gives_up { HttpErrorKind::Unknown } else { HttpErrorKind::Connect };
        Err(HttpError::new(kind, Unreachable { server, is_metadata, why: last_cause(&error) }))
    }
}

/// Returns whether no connection was made, even where that took too long.
fn is_of_connection(error: &HttpError) -> bool {
    let cause = error.source().and_then(|it| it.downcast_ref::<reqwest::Error>());
    error.kind() == HttpErrorKind::Connect || cause.is_some_and(reqwest::Error::is_connect)
}

fn last_cause(error: &HttpError) -> String {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, is_metadata, why } = self;
        let first = if *is_metadata { format!("{NO_CREDENTIALS}: ") } else { String::new() };
        write!(f, "{first}cannot reach {server}: {why}")
    }
}

impl Error for Unreachable {}
