//! The pages.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use memsample_report::SideBySide;
use memsample_report::html::{comparison_html, comparison_parts};

use super::answer::{Problem, Work, page_of};
use super::app::App;
use super::found::{self, find_run, history_of};
use super::live::sessions;
use super::query::{Asked, filter, needed, page, search_text, test_key, wanted};
use crate::compared::compared;
use crate::index::RunFilter;
use crate::pages::{self, ROWS};

/// A report has its style and its script within it, and is cut off from this server.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts";

pub(super) async fn not_found(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |_, _| Err(Problem::NotFound("There is no such page.".to_owned())))
        .await
}

pub(super) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    (headers, pages::STYLE).into_response()
}

pub(super) async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    (headers, pages::SCRIPT).into_response()
}

pub(super) async fn worse(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (page, offset) = page(&query)?;
        let project = wanted(&query, "project");
        let rows = app.index.notices(project.as_deref(), ROWS, offset)?;
        Ok(pages::worse(frame, project.as_deref(), &rows, page, app.index.unexamined()?))
    })
    .await
}

pub(super) async fn fleet(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |app, frame| Ok(pages::fleet(frame, found::fleet(app)?.as_ref())))
        .await
}

pub(super) async fn live(State(app): State<Arc<App>>, query: Asked) -> Response {
    let found = sessions(&app).await;
    page_of(app, Work::Index, move |_, frame| {
        let sessions = found?;
        Ok(pages::live(frame, sessions.as_ref(), wanted(&query, "session").as_deref()))
    })
    .await
}

pub(super) async fn releases(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (page, offset) = page(&query)?;
        let rows = app.index.releases(wanted(&query, "project").as_deref(), ROWS, offset)?;
        Ok(pages::releases(frame, &rows, page))
    })
    .await
}

pub(super) async fn suites(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |app, frame| Ok(pages::suites(frame, &app.index.suites()?))).await
}

pub(super) async fn suite(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (project, suite) = (needed(&query, "project")?, needed(&query, "suite")?);
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

pub(super) async fn runs(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let (filter, (page, offset)) = (filter(&query)?, page(&query)?);
        let rows = app.index.runs(&filter, ROWS, offset)?;
        Ok(pages::runs(frame, &filter, &rows, page))
    })
    .await
}

pub(super) async fn run(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let run = find_run(app, &query)?;
        let tests = app.index.tests_of_run(&run.run)?;
        Ok(pages::run(frame, &run, &tests))
    })
    .await
}

pub(super) async fn report(State(app): State<Arc<App>>, query: Asked) -> Response {
    let response = page_of(app, Work::Runs, move |app, _| {
        let run = find_run(app, &query)?;
        let version = app.store.manifest_key(&run.manifest)?.map(|key| key.version);
        let version = version
            .ok_or_else(|| Problem::NotFound(format!("The run `{}` was removed.", run.run)))?;
        Ok(app.reports.html(&app.store, &run.manifest, &version)?.to_string())
    })
    .await;
    as_report(response)
}

pub(super) async fn test(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let history = history_of(app, &query)?;
        Ok(pages::test(frame, &history, &app.index.roles_of_test(&test_key(&query)?)?))
    })
    .await
}

pub(super) async fn hosts(State(app): State<Arc<App>>) -> Response {
    page_of(app, Work::Index, |app, frame| Ok(pages::hosts(frame, &app.index.hosts()?))).await
}

pub(super) async fn search(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Index, move |app, frame| {
        let text = search_text(&query);
        let found = if text.is_empty() { Vec::new() } else { app.index.search(&text, ROWS)? };
        Ok(pages::search(frame, &text, &found))
    })
    .await
}

pub(super) async fn compare(State(app): State<Arc<App>>, query: Asked) -> Response {
    page_of(app, Work::Runs, move |app, frame| {
        let [project, base, head] = sides(&query)?;
        let parts = drawn(app, &query, "parts", comparison_parts)?;
        Ok(pages::compare(frame, project, base, head, &parts))
    })
    .await
}

/// A comparison as the file of `memsample compare --html`.
pub(super) async fn comparison(State(app): State<Arc<App>>, query: Asked) -> Response {
    let response = page_of(app, Work::Runs, move |app, _| {
        Ok(drawn(app, &query, "file", comparison_html)?.to_string())
    })
    .await;
    as_report(response)
}

fn sides(query: &Asked) -> Result<[&str; 3], Problem> {
    Ok([needed(query, "project")?, needed(query, "base")?, needed(query, "head")?])
}

/// Draws a comparison, or takes what was drawn as long as no run has come since.
fn drawn(
    app: &App,
    query: &Asked,
    what: &str,
    draw: impl FnOnce(&SideBySide) -> String,
) -> Result<Arc<str>, Problem> {
    let [project, base, head] = sides(query)?;
    let changes = app.refresher.progress().changes;
    // No name has a zero in it.
    let key = format!("{what}\0{changes}\0{project}\0{base}\0{head}");
    app.reports.kept_or_made(key, || {
        let compared = compared(&app.store, &app.index, project, base, head)?;
        Ok(draw(&compared.side_by_side(&app.store)?))
    })
}

/// Lets a page be what it is by itself, and cuts it off from this server.
fn as_report(mut response: Response) -> Response {
    if response.status() == StatusCode::OK {
        let policy = HeaderValue::from_static(REPORT_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
