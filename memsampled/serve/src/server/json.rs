//! The JSON interface: what `docs/lab-openapi.yaml` describes.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::response::Response;

use super::answer::{Work, json_of};
use super::app::App;
use super::found::{self, find_run, history_of};
use super::live::sessions;
use super::query::{Asked, filter, needed, page, search_text, wanted};
use crate::api;
use crate::compared::compared;
use crate::pages::ROWS;

/// Names that a search finds, at most.
const FOUND: u32 = 20;

pub(super) async fn status(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| {
        Ok(api::Status {
            version: env!("CARGO_PKG_VERSION"),
            store: app.store.address().to_string(),
            runs: app.index.count()?,
            index: app.refresher.progress(),
            unexamined: app.index.unexamined()?,
            webhook: webhook(app)?,
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

pub(super) async fn releases(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        Ok(app.index.releases(wanted(&query, "project").as_deref(), ROWS, page(&query)?.1)?)
    })
    .await
}

pub(super) async fn suites(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| Ok(app.index.suites()?)).await
}

pub(super) async fn runs(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        Ok(app.index.runs(&filter(&query)?, ROWS, page(&query)?.1)?)
    })
    .await
}

pub(super) async fn run(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        let run = find_run(app, &query)?;
        Ok(api::RunWithTests { tests_of_run: app.index.tests_of_run(&run.run)?, run })
    })
    .await
}

pub(super) async fn test(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| history_of(app, &query)).await
}

pub(super) async fn hosts(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| Ok(app.index.hosts()?)).await
}

pub(super) async fn search(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        let text = search_text(&query);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(app.index.search(&text, FOUND)?)
    })
    .await
}

pub(super) async fn compare(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Runs, move |app| {
        let (project, base, head) =
            (needed(&query, "project")?, needed(&query, "base")?, needed(&query, "head")?);
        Ok(compared(&app.store, &app.index, project, base, head)?.comparison)
    })
    .await
}

pub(super) async fn worse(State(app): State<Arc<App>>, query: Asked) -> Response {
    json_of(app, Work::Index, move |app| {
        Ok(app.index.notices(wanted(&query, "project").as_deref(), ROWS, page(&query)?.1)?)
    })
    .await
}

pub(super) async fn fleet(State(app): State<Arc<App>>) -> Response {
    json_of(app, Work::Index, |app| Ok(api::OfFleet { fleet: found::fleet(app)? })).await
}

pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    let found = sessions(&app).await;
    json_of(app, Work::Index, move |_| Ok(api::Live { sessions: found? })).await
}

fn webhook(app: &App) -> Result<Option<api::Webhook>, crate::index::IndexError> {
    let Some(sending) = &app.sending else { return Ok(None) };
    let sending = sending.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Some(api::Webhook { waiting: app.index.notices_to_send()?, sending }))
}
