//! What a notice says to people, and the page about it.

use memsample_input::{printable, rounded_size};

use crate::index::{Notice, NoticeKind};
use crate::link::Links;

/// The page about a notice.
pub(crate) fn page(notice: &Notice, links: &Links) -> String {
    let Notice { project, suite, test, release, .. } = notice;
    match notice.kind {
        NoticeKind::Larger => {
            links.to("test", &[("project", project), ("suite", suite), ("test", test)])
        }
        NoticeKind::ReleaseFailed => {
            links.to("runs", &[("project", project), ("release", release)])
        }
    }
}

/// A notice in one sentence.
pub(crate) fn sentence(notice: &Notice) -> String {
    let size = |bytes: Option<i64>| {
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).map_or("-".to_owned(), rounded_size)
    };
    let project = printable(&notice.project);
    let release = printable(&notice.release);
    match notice.kind {
        NoticeKind::Larger => format!(
            "{} of {} in {project} has a larger peak of resident sets from {release} on: {} → {}{}",
            printable(&notice.test),
            printable(&notice.suite),
            size(notice.before_bytes),
            size(notice.after_bytes),
            notice.percent().map_or_else(String::new, |percent| format!(" ({percent:+.1} %)")),
        ),
        NoticeKind::ReleaseFailed => format!(
            "{release} of {project} has {} of {} runs that did not pass",
            notice.failed.unwrap_or(0),
            notice.runs.unwrap_or(0),
        ),
    }
}
