//! HTTP: who may ask, what is answered, and what each answer says of itself.

mod answer;
mod app;
mod found;
mod json;
mod live;
mod outward;
mod pages;
mod query;
mod releases;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::answer::{broken, plain};
use self::app::App;
pub use self::app::ServeOptions;
use crate::answers::{Answer, Answers, MAX_ANSWER, Stamp};
use crate::compaction::Compaction;
use crate::guard::{Access, Right};
use crate::link::Links;
use crate::refresh::Refresher;
use crate::reports::Reports;
use crate::webhook;

/// Requests that are answered at once; others wait a moment.
const AT_ONCE: usize = 8;
/// Reports and comparisons that are made at once: each reads whole runs.
const LARGE_AT_ONCE: usize = 2;
/// The longest path with its query, in bytes.
const MAX_URI: usize = 8192;
/// The largest request, in bytes.
const MAX_BODY: usize = 1 << 16;

/// A page may load its style and its script from here, and nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Serves until `end` returns, which waits in a thread of its own. `listening` is called with the address when requests are answered.
///
/// # Errors
///
/// The address cannot be used, or the system refuses threads.
pub fn serve(
    options: ServeOptions,
    listening: impl FnOnce(SocketAddr, &str),
    end: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let refresher = Refresher::start(options.store.clone(), options.index.clone())?;
    let _compaction =
        options.compact.then(|| Compaction::start(options.store.clone())).transpose()?;
    let (ending, is_ending) = watch::channel(false);
    let sending = options.webhook.is_some().then(Arc::default);
    let app = Arc::new(App {
        store: options.store,
        index: options.index,
        refresher,
        reports: Reports::default(),
        guard: options.guard,
        links: Links::new(&options.prefix),
        answers: Answers::default(),
        permits: Semaphore::new(AT_ONCE),
        large: Semaphore::new(LARGE_AT_ONCE),
        sending,
        daemon: options.daemon.map(|socket| live::client(&socket)).transpose()?,
        fleet: options.fleet,
        is_ending: is_ending.clone(),
    });
    let router = router(&app);
    std::thread::Builder::new().name("memsample-end".to_owned()).spawn(move || {
        end();
        // Nobody waits any more if this fails.
        let _ = ending.send(true);
    })?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        listening(listener.local_addr()?, app.links.prefix());
        if let (Some(webhook), Some(sending)) = (options.webhook, &app.sending) {
            let (index, links) = (app.index.clone(), app.links.clone());
            let sending = Arc::clone(sending);
            tokio::spawn(webhook::send(webhook, index, links, options.public_url, sending));
        }
        let mut is_ending = is_ending;
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            // It ends too if nobody can say so any more.
            let _ = is_ending.wait_for(|is_ending| *is_ending).await;
        });
        serving.await
    })
}

fn router(app: &Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(pages::releases))
        .route("/suites", get(pages::suites))
        .route("/suite", get(pages::suite))
        .route("/runs", get(pages::runs))
        .route("/run", get(pages::run))
        .route("/report", get(pages::report))
        .route("/test", get(pages::test))
        .route("/hosts", get(pages::hosts))
        .route("/worse", get(pages::worse))
        .route("/search", get(pages::search))
        .route("/compare", get(pages::compare))
        .route("/comparison", get(pages::comparison))
        .route("/live", get(pages::live))
        .route("/live/events", get(live::events))
        .route("/fleet", get(pages::fleet))
        .route("/style.css", get(pages::style))
        .route("/script.js", get(pages::script))
        // A report names no icon, so a browser looks here for one.
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/feed.atom", get(outward::feed))
        .route("/badge.svg", get(outward::badge))
        .route("/api/v1/openapi.yaml", get(outward::openapi))
        .route("/api/v1/status", get(json::status))
        .route("/api/v1/releases", get(json::releases).post(releases::take_step))
        .route("/api/v1/suites", get(json::suites))
        .route("/api/v1/runs", get(json::runs))
        .route("/api/v1/run", get(json::run))
        .route("/api/v1/test", get(json::test))
        .route("/api/v1/hosts", get(json::hosts))
        .route("/api/v1/worse", get(json::worse))
        .route("/api/v1/search", get(json::search))
        .route("/api/v1/compare", get(json::compare))
        .route("/api/v1/live", get(json::live))
        .route("/api/v1/fleet", get(json::fleet));
    let prefix = app.links.prefix().to_owned();
    // A proxy may take the prefix away or leave it.
    let router = match prefix.as_str() {
        "" => pages,
        prefix => pages
            .clone()
            .nest(prefix, pages.clone())
            .route(&format!("{prefix}/"), get(pages::releases)),
    };
    router
        .fallback(pages::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(app), checked))
        .with_state(Arc::clone(app))
}

/// Checks each request, and says with each answer what a browser may do with it.
async fn checked(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = if request.uri().to_string().len() > MAX_URI {
        plain(StatusCode::URI_TOO_LONG, "the address is too long")
    } else if !app.guard.is_asked(request.headers()) {
        plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this server is not known by that name: `memsample serve --host NAME` makes it known",
        )
    } else {
        match app.guard.access(request.headers(), Timestamp::now()) {
            Access::Granted(right) if right == Right::Write || is_reading(request.method()) => {
                answered(&app, request, next).await
            }
            access => refused(access),
        }
    };
    let headers = response.headers_mut();
    let mut set = |name, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-cache");
    response
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Says what is needed to do what was asked.
fn refused(access: Access) -> Response {
    let how = match access {
        Access::Granted(_) => {
            let how = "this server is read-only for you: a token that may write stands in its token file as `TOKEN write`";
            return plain(StatusCode::FORBIDDEN, how);
        }
        Access::Expired => "the token has expired: ask for another one whoever gave it to you",
        Access::Unknown => {
            "a token is needed: as `Authorization: Bearer TOKEN`, or as the password"
        }
    };
    let mut response = plain(StatusCode::UNAUTHORIZED, how);
    let ask = HeaderValue::from_static("Basic realm=\"memsample\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
    response
}

/// Answers as before, if nothing that an answer depends on has changed.
async fn answered(app: &App, request: Request, next: Next) -> Response {
    let uri = request.uri().to_string();
    // Reports are kept elsewhere, and what is of the store itself is asked anew.
    let is_of_index = request.method() == Method::GET
        && ![
            "/report",
            "/compare",
            "/comparison",
            "/status",
            "/style.css",
            "/script.js",
            "/live",
            "/fleet",
            "/events",
            ".yaml",
        ]
        .iter()
        .any(|it| request.uri().path().ends_with(it));
    let stamp = Stamp::from(&app.refresher.progress());
    if is_of_index && let Some(Answer { content_type, body }) = app.answers.get(&stamp, &uri) {
        return ([(header::CONTENT_TYPE, content_type)], body).into_response();
    }
    let response = next.run(request).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let (true, StatusCode::OK, Some(content_type)) = (is_of_index, response.status(), content_type)
    else {
        return response;
    };
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => {
            if body.len() <= MAX_ANSWER {
                let answer = Answer { content_type, body: body.clone() };
                app.answers.keep(stamp, uri, answer);
            }
            Response::from_parts(parts, Body::from(body))
        }
        Err(error) => broken(&error),
    }
}
