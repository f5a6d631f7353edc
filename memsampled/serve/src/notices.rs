//! Finds out what got worse, after the index has changed: tests whose memory is larger from a release on, by the rules of
//! `memsample trend`, and releases with a run that did not pass.

use jiff::Timestamp;
use memsample_store::sha256_hex;

use crate::history::{History, history};
use crate::index::{Index, Notice, NoticeKind, RefreshError, TestKey};

/// How many releases of a test are looked at: a change that is older was found before.
const RELEASES: usize = 200;
/// How many tests and releases are looked at before the store is asked again.
const AT_ONCE: u32 = 200;

/// Finds out what got worse, as far as the index says what is to be found out anew; `None` when nothing more is, else
/// whether a notice changed.
///
/// # Errors
///
/// The index cannot be read or written.
pub(crate) fn find(index: &Index) -> Result<Option<bool>, RefreshError> {
    let stale = index.stale(AT_ONCE).map_err(RefreshError::Index)?;
    if stale.tests.is_empty() && stale.releases.is_empty() {
        return Ok(None);
    }
    let now = Timestamp::now();
    let mut is_changed = false;
    for test in &stale.tests {
        let found = history(index, &test.1, "rss_peak", RELEASES).map_err(RefreshError::Index)?;
        let since = found.as_ref().map_or(0, first_ms);
        let notices = found.map_or_else(Vec::new, |history| larger(&history, &test.1, now));
        is_changed |= index.set_test_notices(test, since, &notices)?;
    }
    for release in &stale.releases {
        let (project, name) = release;
        let row = index.release(project, name).map_err(RefreshError::Index)?;
        let found = row.filter(|row| row.failed > 0).map(|row| Notice {
            id: id(NoticeKind::ReleaseFailed, [project, "", "", name]),
            kind: NoticeKind::ReleaseFailed,
            project: project.clone(),
            suite: String::new(),
            test: String::new(),
            release: name.clone(),
            before_bytes: None,
            after_bytes: None,
            failed: Some(row.failed),
            runs: Some(row.runs),
            at_ms: row.started_ms,
            found_ms: now.as_millisecond(),
        });
        is_changed |= index.set_release_notice(release, found.as_ref())?;
    }
    Ok(Some(is_changed))
}

/// When the first release began that was looked at: what was found earlier stays.
fn first_ms(history: &History) -> i64 {
    match history.left_out {
        0 => 0,
        _ => history
            .releases
            .first()
            .and_then(|release| release.started)
            .map_or(0, Timestamp::as_millisecond),
    }
}

fn larger(history: &History, key: &TestKey, now: Timestamp) -> Vec<Notice> {
    let bytes = |bytes: u64| i64::try_from(bytes).ok();
    let changes = history.changes.iter().filter(|change| change.after_bytes > change.before_bytes);
    changes
        .filter_map(|change| {
            let release = history.releases.get(usize::try_from(change.release_index).ok()?)?;
            Some(Notice {
                id: id(NoticeKind::Larger, [&key.project, &key.suite, &key.test, &change.release]),
                kind: NoticeKind::Larger,
                project: key.project.clone(),
                suite: key.suite.clone(),
                test: key.test.clone(),
                release: change.release.clone(),
                before_bytes: bytes(change.before_bytes),
                after_bytes: bytes(change.after_bytes),
                failed: None,
                runs: None,
                at_ms: release.started.map_or(0, Timestamp::as_millisecond),
                found_ms: now.as_millisecond(),
            })
        })
        .collect()
}

fn id(kind: NoticeKind, names: [&str; 4]) -> String {
    let mut text = kind.name().to_owned();
    for name in names {
        text.push('\0');
        text.push_str(name);
    }
    let mut id = sha256_hex(text.as_bytes());
    id.truncate(32);
    id
}
