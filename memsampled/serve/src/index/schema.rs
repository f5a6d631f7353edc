//! The tables of the index.

use rusqlite::Connection;

/// The version of the tables. An index of another one is made anew: all it has is in the store too.
pub(super) const VERSION: i64 = 5;

/// Tests and attempts are stored in the order in which they are asked for, so that a trend of one test is one range.
const TABLES: &str = "
CREATE TABLE store (address TEXT NOT NULL, is_filled INTEGER NOT NULL) STRICT;
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    manifest TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    pushed TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    suite TEXT NOT NULL,
    host TEXT NOT NULL,
    release_name TEXT NOT NULL,
    is_release INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    told_started_ms INTEGER,
    duration_ns INTEGER,
    outcome TEXT,
    tests INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    commit_id TEXT,
    kernel TEXT,
    cpus INTEGER,
    memory_bytes INTEGER,
    labels TEXT NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX run_by_time ON run (started_ms DESC);
CREATE INDEX run_by_suite ON run (project, suite, started_ms DESC);
CREATE INDEX run_by_host ON run (host, started_ms DESC);
CREATE INDEX run_by_release ON run (project, release_name, started_ms);
CREATE TABLE test (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    suite TEXT NOT NULL,
    test TEXT NOT NULL,
    role TEXT NOT NULL,
    UNIQUE (project, suite, test, role)
) STRICT;
CREATE TABLE attempt (
    test INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    run INTEGER NOT NULL,
    repetition INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    rss_peak_bytes INTEGER,
    rss_peak_bytes_upper INTEGER,
    pss_peak_bytes INTEGER,
    anon_peak_bytes INTEGER,
    group_peak_bytes INTEGER,
    duration_ns INTEGER,
    is_compared INTEGER NOT NULL,
    PRIMARY KEY (test, started_ms, run, repetition, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_by_run ON attempt (run, test);
CREATE TABLE damaged (manifest TEXT PRIMARY KEY, version TEXT NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE release_step (
    object TEXT PRIMARY KEY, project TEXT NOT NULL, release_name TEXT NOT NULL, step TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE stale_test (test INTEGER PRIMARY KEY) STRICT;
CREATE TABLE stale_release (
    project TEXT NOT NULL, release_name TEXT NOT NULL, PRIMARY KEY (project, release_name)
) STRICT, WITHOUT ROWID;
CREATE TABLE notice (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    project TEXT NOT NULL,
    suite TEXT NOT NULL,
    test TEXT NOT NULL,
    release_name TEXT NOT NULL,
    before_bytes INTEGER,
    after_bytes INTEGER,
    failed INTEGER,
    runs INTEGER,
    at_ms INTEGER NOT NULL,
    found_ms INTEGER NOT NULL,
    is_sent INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_by_time ON notice (at_ms DESC);
CREATE INDEX notice_by_test ON notice (project, suite, test);
CREATE INDEX notice_to_send ON notice (next_try_ms) WHERE is_sent = 0;
CREATE TABLE name (
    kind TEXT NOT NULL, text TEXT NOT NULL, project TEXT NOT NULL, suite TEXT NOT NULL,
    PRIMARY KEY (kind, text, project, suite)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE found USING fts5(text, kind UNINDEXED, project UNINDEXED, suite UNINDEXED, tokenize = 'trigram');
";

/// "mems", in the header of the file: says that it is an index, which may be made anew.
pub(super) const APPLICATION_ID: i32 = 0x6d65_6d73;

/// Makes the tables in an empty file.
pub(super) fn create(connection: &Connection, store: &str) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(TABLES)?;
    connection.execute("INSERT INTO store VALUES (?1, 0)", [store])?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Sets what holds for each connection.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Another server may write into the same file.
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What a loss of power takes is read from the store again.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}
