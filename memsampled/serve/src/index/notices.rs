//! What got worse, as the index has it: found out once, and told once.

use std::sync::PoisonError;

use rusqlite::{Row, params};
use serde::Serialize;

use super::fill::RefreshError;
use super::{Index, IndexError, TestKey};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The memory of a test is larger from a release on.
    Larger,
    /// A release has a run that did not pass.
    ReleaseFailed,
}

impl NoticeKind {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Larger => "larger",
            Self::ReleaseFailed => "release_failed",
        }
    }
}

/// Something that got worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The same for the same thing in every index.
    pub id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// What is tested.
    pub project: String,
    /// The suite; empty of a release.
    pub suite: String,
    /// The test; empty of a release.
    pub test: String,
    /// The release from which on it is so.
    pub release: String,
    /// The peak of resident sets before; `None` of a release.
    pub before_bytes: Option<i64>,
    /// The peak of resident sets from then on; `None` of a release.
    pub after_bytes: Option<i64>,
    /// How many runs of the release did not pass; `None` of a test.
    pub failed: Option<i64>,
    /// How many runs the release has; `None` of a test.
    pub runs: Option<i64>,
    /// When the release began, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it was found out, in milliseconds since 1970.
    pub found_ms: i64,
}

impl Notice {
    /// Returns the change of memory in percent of what was before.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (before, after) = (self.before_bytes?, self.after_bytes?);
        (before > 0).then(|| (after - before) as f64 / before as f64 * 100.0)
    }
}

const NOTICE: &str = "SELECT id, kind, project, suite, test, release_name, before_bytes, after_bytes, failed, runs, \
                      at_ms, found_ms, tries FROM notice";

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let kind: String = row.get(1)?;
    Ok(Notice {
        id: row.get(0)?,
        kind: match kind.as_str() {
            "larger" => NoticeKind::Larger,
            _ => NoticeKind::ReleaseFailed,
        },
        project: row.get(2)?,
        suite: row.get(3)?,
        test: row.get(4)?,
        release: row.get(5)?,
        before_bytes: row.get(6)?,
        after_bytes: row.get(7)?,
        failed: row.get(8)?,
        runs: row.get(9)?,
        at_ms: row.get(10)?,
        found_ms: row.get(11)?,
    })
}

/// What is to be found out anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Tests with their number in the index.
    pub tests: Vec<(i64, TestKey)>,
    /// Projects and releases.
    pub releases: Vec<(String, String)>,
}

impl Index {
    /// Returns notices, the last release first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn notices(
        &self,
        project: Option<&str>,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<Notice>, IndexError> {
        self.ask(|connection| {
            let sql = format!(
                "{NOTICE} WHERE ?1 IS NULL OR project = ?1 ORDER BY at_ms DESC, id LIMIT ?2 OFFSET ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map(params![project, limit, offset], notice)?.collect()
        })
    }

    /// Returns some of what is to be found out anew.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn stale(&self, limit: u32) -> Result<Stale, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT stale_test.test, project, suite, test.test FROM stale_test \
                 LEFT JOIN test ON test.id = stale_test.test LIMIT ?1",
            )?;
            let tests = statement.query_map([limit], |row| {
                let [project, suite, test] = [row.get(1)?, row.get(2)?, row.get(3)?];
                Ok((row.get(0)?, TestKey { project, suite, test, role: String::new() }))
            })?;
            let tests = tests.collect::<rusqlite::Result<_>>()?;
            let mut statement = connection
                .prepare_cached("SELECT project, release_name FROM stale_release LIMIT ?1")?;
            let releases = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Stale { tests, releases: releases.collect::<rusqlite::Result<_>>()? })
        })
    }

    /// Returns of how many tests and releases it is not known yet whether they got worse.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn unexamined(&self) -> Result<i64, IndexError> {
        self.ask(|connection| {
            connection.query_row(
                "SELECT (SELECT count(*) FROM stale_test) + (SELECT count(*) FROM stale_release)",
                [],
                |row| row.get(0),
            )
        })
    }

    /// Writes what was found out of a test, in place of what was known of it from an instant on, and returns whether
    /// that is another thing.
    ///
    /// # Errors
    ///
    /// The index cannot be written.
    pub fn set_test_notices(
        &self,
        (number, key): &(i64, TestKey),
        since_ms: i64,
        found: &[Notice],
    ) -> Result<bool, RefreshError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        let mut known: Vec<String> = transaction
            .prepare_cached(
                "SELECT id FROM notice WHERE project = ?1 AND suite = ?2 AND test = ?3 AND kind = 'larger' AND at_ms >= ?4",
            )?
            .query_map(params![key.project, key.suite, key.test, since_ms], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut is_changed = false;
        for notice in found {
            known.retain(|id| *id != notice.id);
            is_changed |= upsert(&transaction, notice)?;
        }
        for id in known {
            transaction.execute("DELETE FROM notice WHERE id = ?1", [id])?;
            is_changed = true;
        }
        transaction.execute("DELETE FROM stale_test WHERE test = ?1", [number])?;
        transaction.commit()?;
        Ok(is_changed)
    }

    /// Writes what was found out of a release, or that there is nothing, and returns whether that is another thing.
    ///
    /// # Errors
    ///
    /// The index cannot be written.
    pub fn set_release_notice(
        &self,
        (project, release): &(String, String),
        found: Option<&Notice>,
    ) -> Result<bool, RefreshError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        let is_changed = match found {
            Some(notice) => upsert(&transaction, notice)?,
            None => {
                let removed = transaction.execute(
                    "DELETE FROM notice WHERE project = ?1 AND release_name = ?2 AND kind = 'release_failed'",
                    [project, release],
                )?;
                removed > 0
            }
        };
        transaction.execute(
            "DELETE FROM stale_release WHERE project = ?1 AND release_name = ?2",
            [project, release],
        )?;
        transaction.commit()?;
        Ok(is_changed)
    }

    /// Notes that all that a store had was found out: what is found from now on is news.
    ///
    /// # Errors
    ///
    /// The index cannot be written.
    pub fn set_filled(&self) -> Result<(), RefreshError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.execute("UPDATE store SET is_filled = 1 WHERE NOT is_filled", [])?;
        Ok(())
    }

    /// Returns a notice that is to be sent now, and how often that was tried.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn notice_to_send(&self, now_ms: i64) -> Result<Option<(Notice, u32)>, IndexError> {
        self.ask(|connection| {
            let sql = format!(
                "{NOTICE} WHERE is_sent = 0 AND next_try_ms <= ?1 ORDER BY next_try_ms LIMIT 1"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows =
                statement.query_map([now_ms], |row| Ok((notice(row)?, row.get::<_, u32>(12)?)))?;
            rows.next().transpose()
        })
    }

    /// Returns how many notices wait to be sent.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn notices_to_send(&self) -> Result<i64, IndexError> {
        self.ask(|connection| {
            connection
                .query_row("SELECT count(*) FROM notice WHERE is_sent = 0", [], |row| row.get(0))
        })
    }

    /// Notes that a notice was sent, or is sent no more.
    ///
    /// # Errors
    ///
    /// The index cannot be written.
    pub fn set_sent(&self, id: &str) -> Result<(), RefreshError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.execute("UPDATE notice SET is_sent = 1 WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Notes when a notice is to be sent again.
    ///
    /// # Errors
    ///
    /// The index cannot be written.
    pub fn set_next_try(&self, id: &str, next_try_ms: i64) -> Result<(), RefreshError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.execute(
            "UPDATE notice SET tries = tries + 1, next_try_ms = ?2 WHERE id = ?1",
            params![id, next_try_ms],
        )?;
        Ok(())
    }
}

/// Writes a notice, and returns whether it is new or says something else. What was known when the index was filled is
/// not sent to anybody.
fn upsert(transaction: &rusqlite::Transaction<'_>, notice: &Notice) -> rusqlite::Result<bool> {
    let changed = transaction
        .prepare_cached(
            "INSERT INTO notice SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, NOT is_filled, 0, 0 FROM store \
             WHERE true ON CONFLICT (id) DO UPDATE SET before_bytes = excluded.before_bytes, \
             after_bytes = excluded.after_bytes, failed = excluded.failed, runs = excluded.runs, at_ms = excluded.at_ms \
             WHERE before_bytes IS NOT excluded.before_bytes OR after_bytes IS NOT excluded.after_bytes \
             OR failed IS NOT excluded.failed OR runs IS NOT excluded.runs OR at_ms <> excluded.at_ms",
        )?
        .execute(params![
            notice.id,
            notice.kind.name(),
            notice.project,
            notice.suite,
            notice.test,
            notice.release,
            notice.before_bytes,
            notice.after_bytes,
            notice.failed,
            notice.runs,
            notice.at_ms,
            notice.found_ms,
        ])?;
    Ok(changed > 0)
}
