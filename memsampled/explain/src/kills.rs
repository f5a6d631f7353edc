//! Whom the kernel killed for want of memory, by the marks of a recording.

use std::io;
use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType as Millisecond;
use arrow_array::{Array, StringArray};
use memsample::{MarkKind, Recording};

/// A kill.
pub(crate) struct Kill {
    pub(crate) ts_ms: i64,
    /// Who was killed, and why.
    pub(crate) name: String,
    pub(crate) test: Option<String>,
}

/// Returns the kills within a span of time, in milliseconds since 1970, in the order of time.
pub(crate) fn kills(recording: &Recording, span: RangeInclusive<i64>) -> io::Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for batch in recording.read_table("marks", &["ts", "kind", "name", "test"]) {
        let batch = batch?;
        let text = |name: &str| -> Option<&StringArray> {
            batch.column_by_name(name)?.as_string_opt::<i32>()
        };
        let ts = batch.column_by_name("ts").and_then(|it| it.as_primitive_opt::<Millisecond>());
        let (Some(ts), Some(kind), Some(name), Some(test)) =
            (ts, text("kind"), text("name"), text("test"))
        else {
            continue;
        };
        for row in 0..batch.num_rows() {
            if kind.value(row) == MarkKind::OomKill.as_str() && span.contains(&ts.value(row)) {
                let test = test.is_valid(row).then(|| test.value(row).to_owned());
                kills.push(Kill { ts_ms: ts.value(row), name: name.value(row).to_owned(), test });
            }
        }
    }
    kills.sort_by_key(|kill| kill.ts_ms);
    Ok(kills)
}
