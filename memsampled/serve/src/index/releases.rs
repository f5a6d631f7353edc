//! The releases of the index: the runs that have their name, and when somebody began and closed them.

use std::collections::HashSet;
use std::sync::PoisonError;

use memsample_store::{ErrorKind, Store, StoreError};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::fill::RefreshError;
use super::{Index, IndexError};

/// What a release is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseVerdict {
    /// It was begun and not closed: runs are to come.
    Open,
    /// All its runs passed.
    Passed,
    /// A run did not pass.
    Failed,
    /// It was closed without a run.
    NotRun,
}

/// A release: the runs of a project that have its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseRow {
    /// What is tested.
    pub project: String,
    /// Its name.
    pub release: String,
    /// What it is worth.
    pub verdict: ReleaseVerdict,
    /// Its runs.
    pub runs: i64,
    /// How many of these did not pass.
    pub failed: i64,
    /// The suites that were run.
    pub suites: i64,
    /// The tests of all its runs.
    pub tests: i64,
    /// How many of these passed.
    pub passed: i64,
    /// When its first run began, or the release without runs, in milliseconds since 1970.
    pub started_ms: i64,
    /// When somebody began it; `None` where nobody said so.
    pub begun_ms: Option<i64>,
    /// When somebody closed it; `None` where nobody said so.
    pub closed_ms: Option<i64>,
}

/// Releases by their runs, and by their steps.
const RELEASES: &str = "
WITH of_runs AS (
    SELECT project, release_name, count(*) AS runs, sum(outcome IS NOT 'passed') AS failed,
        count(DISTINCT suite) AS suites, sum(tests) AS tests, sum(passed) AS passed, min(started_ms) AS first
    FROM run WHERE is_release AND kind = 'run' GROUP BY project, release_name
), of_steps AS (
    SELECT project, release_name, min(at_ms) FILTER (WHERE step = 'begun') AS begun,
        min(at_ms) FILTER (WHERE step = 'closed') AS closed
    FROM release_step GROUP BY project, release_name
)
SELECT project, release_name, coalesce(runs, 0), coalesce(failed, 0), coalesce(suites, 0), coalesce(tests, 0),
    coalesce(passed, 0), coalesce(first, begun, closed) AS first, begun, closed
FROM of_runs FULL JOIN of_steps USING (project, release_name)";

fn release_row(row: &Row<'_>) -> rusqlite::Result<ReleaseRow> {
    let (runs, failed): (i64, i64) = (row.get(2)?, row.get(3)?);
    let (begun_ms, closed_ms): (Option<i64>, Option<i64>) = (row.get(8)?, row.get(9)?);
    let verdict = match (begun_ms, closed_ms) {
        (Some(_), None) => ReleaseVerdict::Open,
        _ if runs == 0 => ReleaseVerdict::NotRun,
        _ if failed > 0 => ReleaseVerdict::Failed,
        _ => ReleaseVerdict::Passed,
    };
    Ok(ReleaseRow {
        project: row.get(0)?,
        release: row.get(1)?,
        verdict,
        runs,
        failed,
        suites: row.get(4)?,
        tests: row.get(5)?,
        passed: row.get(6)?,
        started_ms: row.get(7)?,
        begun_ms,
        closed_ms,
    })
}

impl Index {
    /// Returns the releases, the last one first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn releases(
        &self,
        project: Option<&str>,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<ReleaseRow>, IndexError> {
        self.ask(|connection| {
            let sql = format!(
                "{RELEASES} WHERE ?1 IS NULL OR project = ?1 ORDER BY 8 DESC, release_name DESC LIMIT ?2 OFFSET ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map(params![project, limit, offset], release_row)?.collect()
        })
    }

    /// Returns a release.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn release(&self, project: &str, release: &str) -> Result<Option<ReleaseRow>, IndexError> {
        self.ask(|connection| {
            let sql = format!("{RELEASES} WHERE project = ?1 AND release_name = ?2");
            connection.prepare_cached(&sql)?.query_row([project, release], release_row).optional()
        })
    }

    /// Compares the steps of releases with those of the store, and returns how many are new or gone.
    ///
    /// # Errors
    ///
    /// The store does not answer, or the index cannot be written.
    pub fn refresh_releases(&self, store: &Store) -> Result<u64, RefreshError> {
        let mut known: HashSet<String> = self
            .ask(|connection| {
                let mut statement = connection.prepare_cached("SELECT object FROM release_step")?;
                statement.query_map([], |row| row.get(0))?.collect()
            })
            .map_err(RefreshError::Index)?;
        let fresh: Vec<String> =
            store.release_steps()?.into_iter().filter(|name| !known.remove(name)).collect();
        let mut steps = Vec::with_capacity(fresh.len());
        for name in fresh {
            match store.release_step(&name) {
                Ok(step) => steps.push((name, step)),
                Err(error) if is_of_object(&error) => tracing::warn!("left out: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
        let changed = known.len() + steps.len();
        if changed == 0 {
            return Ok(0);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        let stale = "INSERT OR IGNORE INTO stale_release VALUES (?1, ?2)";
        for name in known {
            transaction.execute("DELETE FROM release_step WHERE object = ?1", [name])?;
        }
        for (name, step) in steps {
            let at = step.at.as_millisecond();
            transaction.execute(
                "INSERT OR REPLACE INTO release_step VALUES (?1, ?2, ?3, ?4, ?5)",
                params![name, step.project, step.release, step.step.to_string(), at],
            )?;
            transaction.execute(stale, [&step.project, &step.release])?;
        }
        transaction.commit()?;
        Ok(changed as u64)
    }
}

/// Returns whether an error is one of a single object, which keeps no other one out.
fn is_of_object(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound)
}
