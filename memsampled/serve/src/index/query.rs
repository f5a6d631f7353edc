//! What the index is asked.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;

use super::{Index, IndexError};

/// A suite of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteRow {
    /// What is tested.
    pub project: String,
    /// Its name.
    pub suite: String,
    /// Its runs.
    pub runs: i64,
    /// How many of these did not pass.
    pub failed: i64,
    /// When the last one began, in milliseconds since 1970.
    pub started_ms: i64,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRow {
    /// Its name.
    pub host: String,
    /// Its runs.
    pub runs: i64,
    /// How many of these did not pass.
    pub failed: i64,
    /// When the last one began, in milliseconds since 1970.
    pub started_ms: i64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its id, unique in the store.
    pub run: String,
    /// Its manifest in the store.
    pub manifest: String,
    /// `run` or `recording`.
    pub kind: String,
    /// What is tested.
    pub project: String,
    /// The suite.
    pub suite: String,
    /// The machine.
    pub host: String,
    /// The release; `None` of a run that is of none.
    pub release: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// What its machine said of that, where it lies after its arrival in the store; `started_ms` is the arrival then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_started_ms: Option<i64>,
    /// How long it took.
    pub duration_ns: Option<i64>,
    /// How it ended; `None` of a recording.
    pub outcome: Option<String>,
    /// Its tests.
    pub tests: i64,
    /// How many of these passed.
    pub passed: i64,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// The release of the kernel.
    pub kernel: Option<String>,
    /// The CPUs on which it could run.
    pub cpus: Option<i64>,
    /// The memory of the machine.
    pub memory_bytes: Option<i64>,
    /// Its labels, as a JSON object.
    pub labels: String,
    /// The bytes of its objects.
    pub bytes: i64,
}

/// Which runs are wanted. What is `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// What is tested.
    pub project: Option<String>,
    /// The suite.
    pub suite: Option<String>,
    /// The machine.
    pub host: Option<String>,
    /// The release.
    pub release: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// A label that it has: `KEY=VALUE`.
    pub label: Option<String>,
}

/// An attempt of a test in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRow {
    /// Which of the repetitions, from 1.
    pub repetition: i64,
    /// Which attempt of this repetition, from 1.
    pub attempt: i64,
    /// How it ended.
    pub outcome: String,
    /// The peak of resident sets, as a lower bound.
    pub rss_peak_bytes: Option<i64>,
    /// Its upper bound; `None` where nothing bounds it.
    pub rss_peak_bytes_upper: Option<i64>,
    /// The peak of proportional sets, as a lower bound.
    pub pss_peak_bytes: Option<i64>,
    /// How long it took.
    pub duration_ns: Option<i64>,
}

/// A test of a run, with its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestOfRun {
    /// Its name.
    pub test: String,
    /// Its attempts.
    pub attempts: Vec<AttemptRow>,
}

/// Which test, or which role of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestKey {
    /// What is tested.
    pub project: String,
    /// The suite.
    pub suite: String,
    /// The test.
    pub test: String,
    /// The role; empty for the test as a whole.
    pub role: String,
}

/// What one attempt says of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointOfRun {
    /// The run.
    pub run: String,
    /// The release, or the run itself.
    pub release: String,
    /// The kernel and the CPUs of the machine: what must be the same to be compared.
    pub environment: (Option<String>, Option<i64>),
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// When the run began, in milliseconds since 1970.
    pub started_ms: i64,
    /// The quantity that was asked for; `None` where it was not measured.
    pub bytes: Option<i64>,
}

/// Something that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// `test`, `role`, `host`, `suite` or `release`.
    pub kind: String,
    /// Its name.
    pub text: String,
    /// The project that it is of; empty for a host.
    pub project: String,
    /// The suite that it is of; empty where there is none.
    pub suite: String,
}

const RUN: &str = "SELECT run, manifest, kind, project, suite, host, release_name, is_release, started_ms, duration_ns, \
                   outcome, tests, passed, commit_id, kernel, cpus, memory_bytes, labels, bytes, told_started_ms FROM run";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let release: String = row.get(6)?;
    Ok(RunRow {
        run: row.get(0)?,
        manifest: row.get(1)?,
        kind: row.get(2)?,
        project: row.get(3)?,
        suite: row.get(4)?,
        host: row.get(5)?,
        release: row.get::<_, bool>(7)?.then_some(release),
        started_ms: row.get(8)?,
        duration_ns: row.get(9)?,
        outcome: row.get(10)?,
        tests: row.get(11)?,
        passed: row.get(12)?,
        commit: row.get(13)?,
        kernel: row.get(14)?,
        cpus: row.get(15)?,
        memory_bytes: row.get(16)?,
        labels: row.get(17)?,
        bytes: row.get(18)?,
        told_started_ms: row.get(19)?,
    })
}

/// The columns that a history can be of.
pub const QUANTITIES: [&str; 4] = ["rss_peak", "pss_peak", "anon_peak", "group_peak"];

impl Index {
    /// Returns the suites, the one that was run last first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn suites(&self) -> Result<Vec<SuiteRow>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT project, suite, count(*), sum(outcome IS NOT 'passed'), max(started_ms) AS last FROM run \
                 WHERE kind = 'run' GROUP BY project, suite ORDER BY last DESC LIMIT 1000",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(SuiteRow {
                    project: row.get(0)?,
                    suite: row.get(1)?,
                    runs: row.get(2)?,
                    failed: row.get(3)?,
                    started_ms: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns the names of the tests of a suite.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn tests_of_suite(&self, project: &str, suite: &str) -> Result<Vec<String>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT test FROM test WHERE project = ?1 AND suite = ?2 AND role = '' ORDER BY test LIMIT 10000",
            )?;
            let rows = statement.query_map([project, suite], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Returns the machines, the one that was used last first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn hosts(&self) -> Result<Vec<HostRow>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT host, count(*), sum(kind = 'run' AND outcome IS NOT 'passed'), max(started_ms) AS last FROM run \
                 GROUP BY host ORDER BY last DESC LIMIT 10000",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(HostRow { host: row.get(0)?, runs: row.get(1)?, failed: row.get(2)?, started_ms: row.get(3)? })
            })?;
            rows.collect()
        })
    }

    /// Returns runs, the last one first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn runs(
        &self,
        filter: &RunFilter,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<RunRow>, IndexError> {
        let (mut conditions, mut values): (Vec<String>, Vec<Value>) = Default::default();
        let columns = [
            ("project", &filter.project),
            ("suite", &filter.suite),
            ("host", &filter.host),
            ("outcome", &filter.outcome),
        ];
        for (column, value) in columns {
            if let Some(value) = value {
                values.push(Value::Text(value.clone()));
                conditions.push(format!("{column} = ?{}", values.len()));
            }
        }
        if let Some(release) = &filter.release {
            values.push(Value::Text(release.clone()));
            conditions.push(format!("release_name = ?{} AND is_release", values.len()));
        }
        if let Some((key, value)) = filter.label.as_deref().and_then(|label| label.split_once('='))
        {
            values.push(Value::Text(key.to_owned()));
            values.push(Value::Text(value.to_owned()));
            let (key, value) = (values.len() - 1, values.len());
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ?{key} AND label.value = ?{value})"
            ));
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql =
            format!("{RUN}{conditions} ORDER BY started_ms DESC LIMIT {limit} OFFSET {offset}");
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), run_row)?;
            rows.collect()
        })
    }

    /// Returns a run.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn run(&self, run: &str) -> Result<Option<RunRow>, IndexError> {
        self.ask(|connection| {
            let sql = format!("{RUN} WHERE run = ?1");
            connection.prepare_cached(&sql)?.query_row([run], run_row).optional()
        })
    }

    /// Returns the tests of a run with their attempts, in the order of their names.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn tests_of_run(&self, run: &str) -> Result<Vec<TestOfRun>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT test.test, repetition, attempt, attempt.outcome, rss_peak_bytes, rss_peak_bytes_upper, \
                 pss_peak_bytes, attempt.duration_ns FROM attempt JOIN test ON test.id = attempt.test \
                 WHERE run = (SELECT id FROM run WHERE run = ?1) AND role = '' ORDER BY 1, 2, 3",
            )?;
            let mut tests: Vec<TestOfRun> = Vec::new();
            let mut rows = statement.query([run])?;
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let attempt = AttemptRow {
                    repetition: row.get(1)?,
                    attempt: row.get(2)?,
                    outcome: row.get(3)?,
                    rss_peak_bytes: row.get(4)?,
                    rss_peak_bytes_upper: row.get(5)?,
                    pss_peak_bytes: row.get(6)?,
                    duration_ns: row.get(7)?,
                };
                match tests.last_mut().filter(|test| test.test == name) {
                    Some(test) => test.attempts.push(attempt),
                    None => tests.push(TestOfRun { test: name, attempts: vec![attempt] }),
                }
            }
            Ok(tests)
        })
    }

    /// Returns the roles of a test, in the order of their names.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn roles_of_test(&self, key: &TestKey) -> Result<Vec<String>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT role FROM test WHERE project = ?1 AND suite = ?2 AND test = ?3 AND role <> '' ORDER BY role LIMIT 1000",
            )?;
            let rows = statement.query_map([&key.project, &key.suite, &key.test], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Returns what every attempt says of a test, in the order of time; `None` if there is no such test or quantity.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn history(
        &self,
        key: &TestKey,
        quantity: &str,
    ) -> Result<Option<Vec<PointOfRun>>, IndexError> {
        let Some(column) = QUANTITIES.iter().find(|name| **name == quantity) else {
            return Ok(None);
        };
        self.ask(|connection| {
            let Some(test) = test_id(connection, key)? else { return Ok(None) };
            let sql = format!(
                "SELECT run.run, release_name, kernel, cpus, commit_id, attempt.started_ms, \
                 CASE WHEN is_compared AND {column}_bytes > 0 THEN {column}_bytes END FROM attempt \
                 JOIN run ON run.id = attempt.run WHERE test = ?1 ORDER BY attempt.started_ms"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([test], |row| {
                Ok(PointOfRun {
                    run: row.get(0)?,
                    release: row.get(1)?,
                    environment: (row.get(2)?, row.get(3)?),
                    commit: row.get(4)?,
                    started_ms: row.get(5)?,
                    bytes: row.get(6)?,
                })
            })?;
            rows.collect::<rusqlite::Result<_>>().map(Some)
        })
    }

    /// Finds names that contain a text; those that are it come first, then those that begin with it.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn search(&self, text: &str, limit: u32) -> Result<Vec<Found>, IndexError> {
        let found = |row: &Row<'_>| {
            Ok(Found {
                kind: row.get(0)?,
                text: row.get(1)?,
                project: row.get(2)?,
                suite: row.get(3)?,
            })
        };
        let like = format!("{}%", escaped(text));
        self.ask(|connection| {
            // The index of three letters knows nothing of fewer: names that begin so are a range of each kind.
            if text.chars().count() < 3 {
                let mut statement = connection.prepare_cached(
                    "SELECT kind, text, project, suite FROM name \
                     WHERE text LIKE ?1 ESCAPE '\\' ORDER BY length(text), text LIMIT ?2",
                )?;
                return statement.query_map(params![like, limit], found)?.collect();
            }
            let mut statement = connection.prepare_cached(
                "SELECT kind, text, project, suite FROM found WHERE found MATCH ?1 \
                 ORDER BY text <> ?2, NOT text LIKE ?3 ESCAPE '\\', length(text), text LIMIT ?4",
            )?;
            let phrase = format!("\"{}\"", text.replace('"', "\"\""));
            statement.query_map(params![phrase, text, like, limit], found)?.collect()
        })
    }

    /// Returns the manifests that cannot be read, and why.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn damaged(&self) -> Result<Vec<(String, String)>, IndexError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT manifest, reason FROM damaged ORDER BY manifest LIMIT 1000",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Returns how many manifests cannot be read, or what they name.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn count_damaged(&self) -> Result<u32, IndexError> {
        self.ask(|connection| {
            connection.query_row("SELECT count(*) FROM damaged", [], |row| row.get::<_, u32>(0))
        })
    }

    /// Returns how many runs there are.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn count(&self) -> Result<i64, IndexError> {
        self.ask(|connection| {
            connection.query_row("SELECT count(*) FROM run", [], |row| row.get(0))
        })
    }
}

fn test_id(connection: &Connection, key: &TestKey) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT id FROM test WHERE project = ?1 AND suite = ?2 AND test = ?3 AND role = ?4",
        )?
        .query_row([&key.project, &key.suite, &key.test, &key.role], |row| row.get(0))
        .optional()
}

/// Escapes what LIKE gives a meaning.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
