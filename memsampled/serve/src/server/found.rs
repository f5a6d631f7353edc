//! What a request asks for in the index.

use axum::http::StatusCode;

use super::answer::Problem;
use super::app::App;
use super::query::{Asked, needed, quantity, test_key};
use crate::fleet::Fleet;
use crate::history::{History, history};
use crate::index::RunRow;

/// The releases of a history, at most: the last ones.
const MAX_RELEASES: usize = 2000;

/// Returns what the fleet does; `None` where none is known.
pub(super) fn fleet(app: &App) -> Result<Option<Fleet>, Problem> {
    let read = app.fleet.as_deref().map(Fleet::read).transpose();
    read.map_err(|what| Problem::Failed(StatusCode::SERVICE_UNAVAILABLE, what))
}

pub(super) fn find_run(app: &App, query: &Asked) -> Result<RunRow, Problem> {
    let id = needed(query, "id")?;
    app.index.run(id)?.ok_or_else(|| Problem::NotFound(format!("There is no run `{id}`.")))
}

pub(super) fn history_of(app: &App, query: &Asked) -> Result<History, Problem> {
    let (key, quantity) = (test_key(query)?, quantity(query)?);
    let found = history(&app.index, &key, quantity, MAX_RELEASES)?;
    found.ok_or_else(|| {
        let role = match key.role.as_str() {
            "" => String::new(),
            role => format!(" with the role `{role}`"),
        };
        Problem::NotFound(format!(
            "There is no test `{}`{role} in the suite `{}` of `{}`.",
            key.test, key.suite, key.project
        ))
    })
}
