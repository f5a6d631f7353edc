//! What goes on: the sessions of a daemon, asked for over its socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use memsample_client::wire::{Session, SessionList, is_id};
use memsample_input::with_causes;
use memsample_store::encryption;
use reqwest::Client;

use super::answer::{Problem, plain};
use super::app::App;
use super::query::{Asked, asked};

/// How long the daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a client of the daemon that listens on a socket.
pub(super) fn client(socket: &Path) -> std::io::Result<Client> {
    encryption::choose();
    let client = Client::builder().unix_socket(socket).connect_timeout(TIMEOUT).no_proxy();
    client.build().map_err(std::io::Error::other)
}

/// Returns the sessions of the daemon; `None` where none was named.
pub(super) async fn sessions(app: &App) -> Result<Option<Vec<Session>>, Problem> {
    let Some(daemon) = &app.daemon else { return Ok(None) };
    let asked = async {
        let answer = daemon.get("http://memsampled/v1/sessions").timeout(TIMEOUT).send().await?;
        answer.error_for_status()?.bytes().await
    };
    let answer = asked.await.map_err(|error| unanswered(&error))?;
    let list: SessionList = serde_json::from_slice(&answer).map_err(|error| {
        let what = format!("The daemon says what this program does not understand: {error}.");
        Problem::Failed(StatusCode::BAD_GATEWAY, what)
    })?;
    Ok(Some(list.sessions))
}

fn unanswered(error: &reqwest::Error) -> Problem {
    // Its own words name an address that nobody knows.
    let cause = std::error::Error::source(error).map(with_causes);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Problem::Failed(StatusCode::BAD_GATEWAY, format!("The daemon does not answer{cause}."))
}

/// Sends the events of a session, as the daemon sends them, until it ends or this server does.
pub(super) async fn events(State(app): State<Arc<App>>, query: Asked) -> Response {
    let session = asked(&query, "session");
    let Some(daemon) = app.daemon.as_ref().filter(|_| is_id(session)) else {
        return plain(StatusCode::NOT_FOUND, "there is no such session");
    };
    let answer = daemon.get(format!("http://memsampled/v1/sessions/{session}/live")).send().await;
    let answer = match answer {
        Ok(answer) if answer.status().is_success() => answer,
        Ok(_) => return plain(StatusCode::NOT_FOUND, "there is no such session"),
        Err(_) => return plain(StatusCode::BAD_GATEWAY, "the daemon does not answer"),
    };
    let mut is_ending = app.is_ending.clone();
    let end = async move {
        // It ends too if nobody can say so any more.
        let _ = is_ending.wait_for(|is_ending| *is_ending).await;
    };
    let events = answer.bytes_stream().take_until(Box::pin(end));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that collects an answer shows nothing while it goes on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}
