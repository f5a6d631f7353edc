//! What other programs and pages show: the feed, badges, and the description of the JSON interface.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use memsample_input::rounded_size;

use super::answer::{Problem, Work, page_of};
use super::app::App;
use super::found::history_of;
use super::query::{Asked, asked, needed, wanted};
use crate::badge::{self, Shade};
use crate::feed;
use crate::index::RunFilter;

/// Notices that the feed has.
const NOTICES: u32 = 100;
/// The description of the JSON interface.
const OPENAPI: &str = include_str!("../../../../docs/lab-openapi.yaml");

/// What got worse, as Atom.
pub(super) async fn feed(State(app): State<Arc<App>>, query: Asked) -> Response {
    let response = page_of(app, Work::Index, move |app, frame| {
        let project = wanted(&query, "project");
        let notices = app.index.notices(project.as_deref(), NOTICES, 0)?;
        let feed = feed::feed(frame.links, &frame.store, project.as_deref(), &notices)
            .ok()
            .and_then(|feed| String::from_utf8(feed).ok());
        feed.ok_or_else(|| {
            let what = "The feed could not be written.".to_owned();
            Problem::Failed(StatusCode::INTERNAL_SERVER_ERROR, what)
        })
    })
    .await;
    of_type(response, "application/atom+xml; charset=utf-8")
}

/// How the last run of a suite or of a release ended, or the last known memory of a test.
pub(super) async fn badge(State(app): State<Arc<App>>, query: Asked) -> Response {
    let response = page_of(app, Work::Index, move |app, _| {
        if wanted(&query, "test").is_some() {
            let history = history_of(app, &query)?;
            let label = wanted(&query, "label").unwrap_or(history.test);
            let known = history.points.iter().flatten().next_back();
            let value = known.map_or("not measured".to_owned(), |point| rounded_size(point.bytes));
            return Ok(badge::badge(&label, &value, Shade::Plain));
        }
        let (suite, release) = (wanted(&query, "suite"), wanted(&query, "release"));
        if suite.is_none() && release.is_none() {
            let what = "the address must have `suite=…`, `release=…` or `test=…`".to_owned();
            return Err(Problem::Wrong(what));
        }
        let filter = RunFilter {
            project: Some(needed(&query, "project")?.to_owned()),
            suite: suite.clone(),
            ..RunFilter::default()
        };
        let label = wanted(&query, "label");
        if let Some(release) = release {
            let found = app.index.release(asked(&query, "project"), &release)?;
            let found = found
                .ok_or_else(|| Problem::NotFound(format!("There is no release `{release}`.")))?;
            let (value, shade) = crate::pages::verdict(&found);
            return Ok(badge::badge(&label.unwrap_or(release), &value, shade));
        }
        let runs = app.index.runs(&filter, 1, 0)?;
        let run = runs
            .first()
            .ok_or_else(|| Problem::NotFound("There is no run of this suite.".to_owned()))?;
        let value = run.outcome.as_deref().unwrap_or("recorded").replace('_', " ");
        let shade = if value == "passed" { Shade::Good } else { Shade::Bad };
        Ok(badge::badge(&label.unwrap_or_else(|| run.suite.clone()), &value, shade))
    })
    .await;
    of_type(response, "image/svg+xml; charset=utf-8")
}

/// The description of the JSON interface.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], Body::from(OPENAPI)).into_response()
}

/// Gives what was made its own type; a problem stays a page.
fn of_type(mut response: Response, content_type: &'static str) -> Response {
    if response.status() == StatusCode::OK {
        let value = header::HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}
