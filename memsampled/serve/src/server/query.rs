//! What a request asks for. What makes no sense is refused, and nothing is taken for something else.

use std::collections::HashMap;

use axum::extract::Query;

use super::answer::Problem;
use crate::index::{QUANTITIES, RunFilter, TestKey};
use crate::pages::ROWS;

pub(super) type Asked = Query<HashMap<String, String>>;

/// The last page of a list.
const MAX_PAGE: u32 = 10_000;
/// The longest text that is searched for, in characters.
const MAX_SEARCH: usize = 200;

pub(super) fn asked<'a>(query: &'a Asked, key: &str) -> &'a str {
    query.0.get(key).map_or("", String::as_str)
}

pub(super) fn wanted(query: &Asked, key: &str) -> Option<String> {
    query.0.get(key).filter(|value| !value.is_empty()).cloned()
}

/// Returns what must be given.
pub(super) fn needed<'a>(query: &'a Asked, key: &str) -> Result<&'a str, Problem> {
    match asked(query, key) {
        "" => Err(Problem::Wrong(format!("`{key}` is missing: the address must have `{key}=…`"))),
        value => Ok(value),
    }
}

/// How many rows are before the page that is asked for, and its number, from 1.
pub(super) fn page(query: &Asked) -> Result<(u32, u32), Problem> {
    let page = match query.0.get("page") {
        None => 1,
        Some(page) => {
            page.parse().ok().filter(|page| (1..=MAX_PAGE).contains(page)).ok_or_else(|| {
                Problem::Wrong(format!("`page` must be a number from 1 to {MAX_PAGE}"))
            })?
        }
    };
    Ok((page, (page - 1) * ROWS))
}

pub(super) fn filter(query: &Asked) -> Result<RunFilter, Problem> {
    let label = wanted(query, "label");
    if label.as_ref().is_some_and(|label| !label.contains('=')) {
        return Err(Problem::Wrong("`label` must be KEY=VALUE".to_owned()));
    }
    Ok(RunFilter {
        project: wanted(query, "project"),
        suite: wanted(query, "suite"),
        host: wanted(query, "host"),
        release: wanted(query, "release"),
        outcome: wanted(query, "outcome"),
        label,
    })
}

pub(super) fn test_key(query: &Asked) -> Result<TestKey, Problem> {
    Ok(TestKey {
        project: needed(query, "project")?.to_owned(),
        suite: needed(query, "suite")?.to_owned(),
        test: needed(query, "test")?.to_owned(),
        role: asked(query, "role").to_owned(),
    })
}

/// The quantity of a history: a column of the index without its unit.
pub(super) fn quantity(query: &Asked) -> Result<&str, Problem> {
    match asked(query, "quantity") {
        "" => Ok("rss_peak"),
        quantity if QUANTITIES.contains(&quantity) => Ok(quantity),
        _ => Err(Problem::Wrong(format!("`quantity` must be one of {}", QUANTITIES.join(", ")))),
    }
}

pub(super) fn search_text(query: &Asked) -> String {
    // No name has a zero in it, and an expression of SQLite ends there.
    asked(query, "q").trim().chars().filter(|it| *it != '\0').take(MAX_SEARCH).collect()
}
