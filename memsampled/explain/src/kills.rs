//! Whom the kernel killed for want of memory, by the marks of a recording.

use std::io;
use std::ops::RangeInclusive;

use memsample::analysis::{RecordedMark, for_each_mark};
use memsample::{MarkKind, Recording};

/// Returns the kills within a span of time, in milliseconds since 1970, in the order of time: their names say who was
/// killed, and why.
pub(crate) fn kills(
    recording: &Recording,
    span: RangeInclusive<i64>,
) -> io::Result<Vec<RecordedMark>> {
    let mut kills = Vec::new();
    for_each_mark(recording, |mark| {
        if mark.kind == MarkKind::OomKill && span.contains(&mark.ts_ms) {
            kills.push(mark);
        }
    })?;
    kills.sort_by_key(|kill| kill.ts_ms);
    Ok(kills)
}
