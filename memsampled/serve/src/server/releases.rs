//! Begins and closes releases: the webhook of who makes them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use memsample_store::{ReleaseStep, Step};
use serde::Deserialize;

use super::answer::{Problem, Work, json_of};
use super::app::App;

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    project: String,
    release: String,
    action: Action,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Begin,
    Close,
}

/// Takes a step of a release, and answers with the release. A step that was taken already is not taken again.
pub(super) async fn take_step(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // Since a page of another site can post text, but not JSON.
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .and_then(|it| it.split(';').next())
        .is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"));
    json_of(app, Work::Index, move |app| {
        if !is_json {
            return Err(Problem::Wrong("the content type must be application/json".to_owned()));
        }
        let request: Request = serde_json::from_slice(&body)
            .map_err(|error| Problem::Wrong(format!("this is no step of a release: {error}")))?;
        let step = match request.action {
            Action::Begin => Step::Begun,
            Action::Close => Step::Closed,
        };
        let step = ReleaseStep::now(&request.project, &request.release, step)?;
        let step = app.store.take_step(step)?;
        app.index.refresh_releases(&app.store)?;
        app.refresher.changed();
        let release = app.index.release(&step.project, &step.release)?;
        release.ok_or_else(|| Problem::NotFound("The release was removed.".to_owned()))
    })
    .await
}
