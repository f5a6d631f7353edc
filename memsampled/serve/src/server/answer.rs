//! How a request is answered: with a page or with JSON, made beside the threads that serve, or with why there is none.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use memsample_store::{ErrorKind, StoreError};
use serde::Serialize;
use tokio::sync::SemaphorePermit;

use super::app::App;
use crate::api;
use crate::compared::CompareProblem;
use crate::index::{IndexError, RefreshError};
use crate::pages::{self, Frame};

/// Why a request has no answer.
pub(super) enum Problem {
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

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Store(error) => error.into(),
            RefreshError::Index(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => return Self::NotFound(error.to_string()),
            ErrorKind::TooLarge => {
                return Self::Failed(StatusCode::NOT_IMPLEMENTED, error.to_string());
            }
            ErrorKind::ReadOnly => return Self::Failed(StatusCode::FORBIDDEN, error.to_string()),
            ErrorKind::Address => return Self::Wrong(error.to_string()),
            ErrorKind::Unavailable
            | ErrorKind::NoBucket
            | ErrorKind::Refused
            | ErrorKind::Local => StatusCode::SERVICE_UNAVAILABLE,
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

/// What an answer is made of: the index, or whole runs that are brought from the store. Those who wait for runs keep
/// nobody from the index.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Index,
    Runs,
}

async fn permit(app: &App, work: Work) -> Option<SemaphorePermit<'_>> {
    let permits = match work {
        Work::Index => &app.permits,
        Work::Runs => &app.large,
    };
    permits.acquire().await.ok()
}

/// Answers with a page, made beside the threads that serve.
pub(super) async fn page_of(
    app: Arc<App>,
    work: Work,
    make: impl FnOnce(&App, &Frame<'_>) -> Result<String, Problem> + Send + 'static,
) -> Response {
    let of_work = Arc::clone(&app);
    let _permit = permit(&of_work, work).await;
    let made = tokio::task::spawn_blocking(move || {
        let frame = Frame {
            links: &app.links,
            store: app.store.address().to_string(),
            progress: app.refresher.progress(),
            // Where the index does not answer, the page says so.
            damaged: app.index.count_damaged().map_or(0, u64::from),
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
pub(super) async fn json_of<T: Serialize + Send + 'static>(
    app: Arc<App>,
    work: Work,
    make: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Response {
    let of_work = Arc::clone(&app);
    let _permit = permit(&of_work, work).await;
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

pub(super) fn broken(error: &dyn fmt::Display) -> Response {
    tracing::error!("a request was not answered: {error}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered: the log says why")
}

/// Answers with a line of text.
pub(super) fn plain(status: StatusCode, what: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{what}\n"))
        .into_response()
}
