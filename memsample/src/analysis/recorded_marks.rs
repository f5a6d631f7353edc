//! The marks of a recording.

use std::io;

use arrow_array::types::TimestampMillisecondType as Millisecond;

use crate::columns::{numbers, strings, text_at};
use crate::recording::Recording;
use crate::schema::marks::MarkKind;

/// A mark that was set from outside or by the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMark {
    /// When it was set, in milliseconds since 1970.
    pub ts_ms: i64,
    /// What it says.
    pub kind: MarkKind,
    /// What begins, ends or happened.
    pub name: String,
    /// The test that it belongs to.
    pub test: Option<String>,
    /// What else is known, as a JSON object.
    pub labels: Option<String>,
}

/// Passes on the marks one after the other, in the order in which they were written: nearly that of time. Kinds that this
/// version does not know are left out.
///
/// # Errors
///
/// The table cannot be read.
pub fn for_each_mark(recording: &Recording, mut each: impl FnMut(RecordedMark)) -> io::Result<()> {
    for batch in recording.read_table("marks", &["ts", "kind", "name", "test", "labels"]) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let (kinds, names) = (strings(&batch, "kind")?, strings(&batch, "name")?);
        let (tests, labels) = (strings(&batch, "test")?, strings(&batch, "labels")?);
        for (row, &ts_ms) in ts.iter().enumerate() {
            let kind = MarkKind::ALL.into_iter().find(|kind| kind.as_str() == kinds.value(row));
            let Some(kind) = kind else { continue };
            each(RecordedMark {
                ts_ms,
                kind,
                name: names.value(row).to_owned(),
                test: text_at(tests, row),
                labels: text_at(labels, row),
            });
        }
    }
    Ok(())
}
