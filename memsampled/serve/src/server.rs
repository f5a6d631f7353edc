//! HTTP: who may ask, what is answered, and what each answer says of itself.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use memsample_store::{ErrorKind, Store, StoreError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answers::{Answer, Answers, MAX_ANSWER, Stamp};
use crate::api;
use crate::compared::{CompareProblem, compared};
use crate::guard::Guard;
use crate::history::history;
use crate::index::{Index, IndexError, RunFilter, RunRow, TestKey};
use crate::link::Links;
use crate::pages::{self, Frame, ROWS};
use crate::refresh::Refresher;
use crate::reports::Reports;

/// Requests that are answered at once; others wait a moment.
const AT_ONCE: usize = 8;
/// Reports and comparisons that are made at once: each reads whole runs.
const LARGE_AT_ONCE: usize = 2;
/// The longest path with its query, in bytes.
const MAX_URI: usize = 8192;
/// The last page of a list.
const MAX_PAGE: u32 = 10_000;

/// A page may load its style from here, and nothing else from anywhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A report has its style and its script within it, and is cut off from this server.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts";

/// What is served, and to whom.
pub struct ServeOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The path below which a reverse proxy has it.
    pub prefix: String,
    /// Who may read.
    pub guard: Guard,
    /// The store.
    pub store: Store,
    /// Its index.
    pub index: Index,
}

/// What all requests share.
struct App {
    store: Store,
    index: Index,
    refresher: Refresher,
    reports: Reports,
    guard: Guard,
    links: Links,
    answers: Answers,
    permits: Semaphore,
    large: Semaphore,
}

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
    });
    let router = router(&app);
    let (ending, is_ending) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("memsample-end".to_owned()).spawn(move || {
        end();
        // Nobody waits any more if this fails.
        let _ = ending.send(());
    })?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        listening(listener.local_addr()?, app.links.prefix());
        let serving = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = is_ending.await;
        });
        serving.await
    })
}

fn router(app: &Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(releases))
        .route("/suites", get(suites))
        .route("/suite", get(suite))
        .route("/runs", get(runs))
        .route("/run", get(run))
        .route("/report", get(report))
        .route("/test", get(test))
        .route("/hosts", get(hosts))
        .route("/search", get(search))
        .route("/compare", get(compare))
        .route("/style.css", get(style))
        .route("/api/v1/status", get(api_status))
        .route("/api/v1/releases", get(api_releases))
        .route("/api/v1/suites", get(api_suites))
        .route("/api/v1/runs", get(api_runs))
        .route("/api/v1/run", get(api_run))
        .route("/api/v1/test", get(api_test))
        .route("/api/v1/hosts", get(api_hosts))
        .route("/api/v1/search", get(api_search))
        .route("/api/v1/compare", get(api_compare));
    let prefix = app.links.prefix().to_owned();
    // A proxy may take the prefix away or leave it.
    let router = match prefix.as_str() {
        "" => pages,
        prefix => {
            pages.clone().nest(prefix, pages.clone()).route(&format!("{prefix}/"), get(releases))
        }
    };
    router
        .fallback(not_found)
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
    } else if !app.guard.allows(request.headers()) {
        let mut response = plain(
            StatusCode::UNAUTHORIZED,
            "a token is needed: as `Authorization: Bearer TOKEN`, or as the password",
        );
        let ask = HeaderValue::from_static("Basic realm=\"memsample\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        response
    } else {
        answered(&app, request, next).await
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

/// Answers as before, if nothing that an answer depends on has changed.
async fn answered(app: &App, request: Request, next: Next) -> Response {
    let uri = request.uri().to_string();
    // Reports are kept elsewhere, and what is of the store itself is asked anew.
    let is_of_index = request.method() == Method::GET
        && !["/report", "/compare", "/status", "/style.css"]
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

fn plain(status: StatusCode, what: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{what}\n"))
        .into_response()
}

/// Why a request has no answer.
pub(crate) enum Problem {
    /// There is no such thing.
    NotFound(String),
    /// What was asked makes no sense.
    Wrong(String),
    /// The store or the index does not answer, or what it has is damaged.
    Failed(StatusCode, String),
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        Self::Failed(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => return Self::NotFound(error.to_string()),
            ErrorKind::Unavailable | ErrorKind::Refused | ErrorKind::Local => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::Failed(status, error.to_string())
    }
}

impl From<CompareProblem> for Problem {
    fn from(problem: CompareProblem) -> Self {
        match problem {
            CompareProblem::Index(error) => error.into(),
            CompareProblem::Store(error) => error.into(),
            CompareProblem::None(what) => Self::NotFound(what),
            CompareProblem::Refused(what) => Self::Wrong(what),
        }
    }
}

impl Problem {
    fn parts(self) -> (StatusCode, String) {
        match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, what),
            Self::Wrong(what) => (StatusCode::BAD_REQUEST, what),
            Self::Failed(status, what) => (status, what),
        }
    }
}

type Asked = Query<HashMap<String, String>>;

fn asked<'a>(query: &'a Asked, key: &str) -> &'a str {
    query.0.get(key).map_or("", String::as_str)
}

fn wanted(query: &Asked, key: &str) -> Option<String> {
    query.0.get(key).filter(|value| !value.is_empty()).cloned()
}

/// The page that is asked for, from 1, and how many rows are before it.
fn page(query: &Asked) -> (u32, u32) {
    let page = asked(query, "page").parse().unwrap_or(1).clamp(1, MAX_PAGE);
    (page, (page - 1) * ROWS)
}

fn filter(query: &Asked) -> RunFilter {
    RunFilter {
        project: wanted(query, "project"),
        suite: wanted(query, "suite"),
        host: wanted(query, "host"),
        release: wanted(query, "release"),
        outcome: wanted(query, "outcome"),
        label: wanted(query, "label"),
    }
}

fn test_key(query: &Asked) -> TestKey {
    let text = |key| asked(query, key).to_owned();
    TestKey {
        project: text("project"),
        suite: text("suite"),
        test: text("test"),
        role: text("role"),
    }
}

/// What an answer is made of: the index, or whole runs that are brought from the store. Those who wait for runs keep
/// nobody from the index.
#[derive(Clone, Copy)]
enum Work {
    Index,
    Runs,
}

impl App {
    async fn permit(&self, work: Work) -> Option<SemaphorePermit<'_>> {
        let permits = match work {
            Work::Index => &self.permits,
            Work::Runs => &self.large,
        };
        permits.acquire().await.ok()
    }
}

/// Answers with a page, made beside the threads that serve.
async fn page_of(
    app: Arc<App>,
    work: Work,
    make: impl FnOnce(&App, &Frame<'_>) -> Result<String, Problem> + Send + 'static,
) -> Response {
    let of_work = Arc::clone(&app);
    let _permit = of_work.permit(work).await;
    let made = tokio::task::spawn_blocking(move || {
        let frame = Frame {
            links: &app.links,
            store: app.store.address().to_string(),
            progress: app.refresher.progress(),
        };
        match make(&app, &frame) {
            Ok(page) => (StatusCode::OK, page),
            Err(problem) => {
                let (status, what) = problem.parts();
                let title = status.canonical_reason().unwrap_or("Problem");
                (status, pages::problem(&frame, title, &what))
            }
        }
    });
    match made.await {
        Ok((status, page)) => {
            (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
        Err(error) => broken(&error),
    }
}

/// Answers with JSON.
async fn json_of<T: Serialize + Send + 'static>(
    app: Arc<App>,
    work: Work,
    make: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Response {
    let of_work = Arc::clone(&app);
    let _permit = of_work.permit(work).await;
    let made = tokio::task::spawn_blocking(move || match make(&app) {
        Ok(value) => (StatusCode::OK, serde_json::to_vec(&value)),
        Err(problem) => {
            let (status, what) = problem.parts();
            (status, serde_json::to_vec(&api::Failure { error: what }))
        }
    });
    match made.await {
        Ok((status, Ok(json))) => {
            (status, [(header::CONTENT_TYPE, "application/json")], Body::from(json)).into_response()
        }
        Ok((_, Err(error))) => broken(&error),
        Err(error) => broken(&error),
    }
}

fn broken(error: &dyn fmt::Display) -> Response {
    tracing::error!("a request was not answered: {error}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered: the log says why")
}

async fn not_found(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |_, _| Err(Problem::NotFound("There is no such page.".to_owned())))
        .await
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    (headers, pages::STYLE).into_response()
}

async fn releases(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (page, offset) = page(&query);
        let rows = app.index.releases(wanted(&query, "project").as_deref(), ROWS, offset)?;
        Ok(pages::releases(frame, &rows, page))
    })
    .await
}

async fn suites(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |app, frame| Ok(pages::suites(frame, &app.index.suites()?))).await
}

async fn suite(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (project, suite) = (asked(&query, "project"), asked(&query, "suite"));
        let filter = RunFilter {
            project: Some(project.to_owned()),
            suite: Some(suite.to_owned()),
            ..RunFilter::default()
        };
        let runs = app.index.runs(&filter, 20, 0)?;
        if runs.is_empty() {
            return Err(Problem::NotFound(format!(
                "No run is of the suite `{suite}` of `{project}`."
            )));
        }
        let tests = app.index.tests_of_suite(project, suite)?;
        Ok(pages::suite(frame, project, suite, &tests, &runs))
    })
    .await
}

async fn runs(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (filter, (page, offset)) = (filter(&query), page(&query));
        let rows = app.index.runs(&filter, ROWS, offset)?;
        Ok(pages::runs(frame, &filter, &rows, page))
    })
    .await
}

fn find_run(app: &App, query: &Asked) -> Result<RunRow, Problem> {
    let id = asked(query, "id");
    app.index.run(id)?.ok_or_else(|| Problem::NotFound(format!("There is no run `{id}`.")))
}

async fn run(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let run = find_run(app, &query)?;
        let tests = app.index.tests_of_run(&run.run)?;
        Ok(pages::run(frame, &run, &tests))
    })
    .await
}

async fn report(State(app): State<Arc<App>>, query: Asked) -> Response {
    let mut response = page_of(app, Work::Runs, move |app, _| {
        let run = find_run(app, &query)?;
        let version = app.store.manifest_key(&run.manifest)?.map(|key| key.version);
        let version = version
            .ok_or_else(|| Problem::NotFound(format!("The run `{}` was removed.", run.run)))?;
        Ok(app.reports.html(&app.store, &run.manifest, &version)?.to_string())
    })
    .await;
    if response.status() == StatusCode::OK {
        let policy = HeaderValue::from_static(REPORT_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn test(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let key = test_key(&query);
        let history = history_of(app, &query, &key)?;
        Ok(pages::test(frame, &history, &app.index.roles_of_test(&key)?))
    })
    .await
}

fn history_of(app: &App, query: &Asked, key: &TestKey) -> Result<crate::history::History, Problem> {
    let quantity = wanted(query, "quantity").unwrap_or_else(|| "rss_peak".to_owned());
    let found = history(&app.index, key, &quantity)?;
    found.ok_or_else(|| {
        Problem::NotFound(format!(
            "There is no test `{}` in the suite `{}` of `{}` with the role `{}` and the quantity `{quantity}`.",
            key.test, key.suite, key.project, key.role
        ))
    })
}

async fn hosts(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |app, frame| Ok(pages::hosts(frame, &app.index.hosts()?))).await
}

/// The longest text that is searched for, in characters.
const MAX_SEARCH: usize = 200;

fn search_text(query: &Asked) -> String {
    asked(query, "q").trim().chars().take(MAX_SEARCH).collect()
}

async fn search(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let text = search_text(&query);
        let found = if text.is_empty() { Vec::new() } else { app.index.search(&text, ROWS)? };
        Ok(pages::search(frame, &text, &found))
    })
    .await
}

async fn compare(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Runs, move |app, frame| {
        let (project, base, head) =
            (asked(&query, "project"), asked(&query, "base"), asked(&query, "head"));
        let comparison = compared(&app.store, &app.index, project, base, head)?;
        Ok(pages::compare(frame, project, base, head, &comparison))
    })
    .await
}

async fn api_status(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| {
        Ok(api::Status {
            version: env!("CARGO_PKG_VERSION"),
            store: app.store.address().to_string(),
            runs: app.index.count()?,
            index: app.refresher.progress(),
            damaged: app
                .index
                .damaged()?
                .into_iter()
                .map(|(manifest, reason)| api::Damaged { manifest, reason })
                .collect(),
        })
    })
    .await
}

async fn api_releases(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        Ok(app.index.releases(wanted(&query, "project").as_deref(), ROWS, page(&query).1)?)
    })
    .await
}

async fn api_suites(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| Ok(app.index.suites()?)).await
}

async fn api_runs(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        Ok(app.index.runs(&filter(&query), ROWS, page(&query).1)?)
    })
    .await
}

async fn api_run(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        let run = find_run(app, &query)?;
        Ok(api::RunWithTests { tests: app.index.tests_of_run(&run.run)?, run })
    })
    .await
}

async fn api_test(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| history_of(app, &query, &test_key(&query))).await
}

async fn api_hosts(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| Ok(app.index.hosts()?)).await
}

async fn api_search(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        let text = search_text(&query);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(app.index.search(&text, 20)?)
    })
    .await
}

async fn api_compare(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Runs, move |app| {
        let (project, base, head) =
            (asked(&query, "project"), asked(&query, "base"), asked(&query, "head"));
        Ok(compared(&app.store, &app.index, project, base, head)?)
    })
    .await
}
