//! Which request does what: one table of operations, and the router made of it.

mod answer;
mod body;
mod dump;
mod health;
mod recordings;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::{MethodRouter, get, post};

use answer::Answer;

use super::failure::Failure;
use super::peer::Peer;
use super::state::State;
use memsample_client::wire::ErrorCode;

/// What can be asked for. `docs/openapi.yaml` describes each under the same name.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The name, `operationId` of the document.
    pub name: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    handler: fn() -> MethodRouter<Arc<State>>,
    access: Access,
}

/// Who may ask for an operation.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// Everybody who may connect; what belongs to others is not there for them.
    Peer,
    /// Root and the user of the daemon.
    Operator,
}

/// Every operation.
const OPERATIONS: [Operation; 13] = [
    // Says whether the daemon works.
    Operation {
        name: "GetHealth",
        method: "GET",
        path: "/healthz",
        handler: || get(health::health),
        access: Access::Peer,
    },
    // Numbers for Prometheus.
    Operation {
        name: "GetMetrics",
        method: "GET",
        path: "/metrics",
        handler: || get(health::metrics),
        access: Access::Peer,
    },
    // Begins a session.
    Operation {
        name: "StartSession",
        method: "POST",
        path: "/v1/sessions",
        handler: || post(sessions::start_session),
        access: Access::Peer,
    },
    // Lists sessions.
    Operation {
        name: "ListSessions",
        method: "GET",
        path: "/v1/sessions",
        handler: || get(sessions::list_sessions),
        access: Access::Peer,
    },
    // Describes a session.
    Operation {
        name: "GetSession",
        method: "GET",
        path: "/v1/sessions/{id}",
        handler: || get(sessions::get_session),
        access: Access::Peer,
    },
    // Sets a mark.
    Operation {
        name: "MarkSession",
        method: "POST",
        path: "/v1/sessions/{id}/marks",
        handler: || post(sessions::mark_session),
        access: Access::Peer,
    },
    // Ends a session.
    Operation {
        name: "StopSession",
        method: "POST",
        path: "/v1/sessions/{id}/stop",
        handler: || post(sessions::stop_session),
        access: Access::Peer,
    },
    // Sends what a session sees, once a second.
    Operation {
        name: "WatchSession",
        method: "GET",
        path: "/v1/sessions/{id}/live",
        handler: || get(sessions::watch_session),
        access: Access::Peer,
    },
    // Lists the processes of a session at its latest tick.
    Operation {
        name: "ListProcesses",
        method: "GET",
        path: "/v1/sessions/{id}/processes",
        handler: || get(sessions::list_processes),
        access: Access::Peer,
    },
    // Makes a recording of the last minutes.
    Operation {
        name: "Dump",
        method: "POST",
        path: "/v1/dump",
        handler: || post(dump::dump),
        access: Access::Operator,
    },
    // Lists recordings.
    Operation {
        name: "ListRecordings",
        method: "GET",
        path: "/v1/recordings",
        handler: || get(recordings::list_recordings),
        access: Access::Peer,
    },
    // Describes a recording.
    Operation {
        name: "GetRecording",
        method: "GET",
        path: "/v1/recordings/{id}",
        handler: || get(recordings::get_recording),
        access: Access::Peer,
    },
    // Sends a file of a recording.
    Operation {
        name: "GetRecordingFile",
        method: "GET",
        path: "/v1/recordings/{id}/{file}",
        handler: || get(recordings::get_recording_file),
        access: Access::Peer,
    },
];

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = OPERATIONS;

    /// Returns what serves it.
    fn route(self) -> MethodRouter<Arc<State>> {
        let handler = (self.handler)();
        match self.access {
            Access::Peer => handler,
            Access::Operator => handler.route_layer(from_fn(operators_only)),
        }
    }
}

/// Makes the router: every operation, and clear answers to all else.
pub(super) fn router(state: Arc<State>) -> Router {
    let router = Operation::ALL
        .into_iter()
        .fold(Router::new(), |router, operation| router.route(operation.path, operation.route()));
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

/// Refuses peers who are neither root nor the user of the daemon.
async fn operators_only(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Answer {
    if peer.is_root() || peer.uid == rustix::process::geteuid().as_raw() {
        return Ok(next.run(request).await);
    }
    Err(Failure::new(
        ErrorCode::Forbidden,
        "a dump holds the last minutes of everybody: only root and the user of the daemon may make one",
    ))
}
