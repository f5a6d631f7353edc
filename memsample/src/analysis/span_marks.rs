//! The marks between which something is, in the order of time.

use std::collections::{BTreeMap, HashMap};
use std::io;

use arrow_array::Array;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use crate::columns::{known, numbers, strings, text_at};
use crate::recording::Recording;
use crate::schema::marks::MarkKind;

/// The memory of a process at an instant, read when a mark was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedState {
    /// Its resident set, in bytes.
    pub rss_bytes: u64,
    /// Its resident anonymous memory, in bytes; `None` where the kernel does not tell it apart.
    pub anon_bytes: Option<u64>,
    /// Its largest resident set until then, in bytes; likewise.
    pub hwm_bytes: Option<u64>,
}

/// A mark at the begin or the end of something, such as a test.
#[derive(Clone, Debug)]
pub(super) struct SpanMark {
    /// Milliseconds since 1970, and nanoseconds since boot.
    pub(super) ts_ms: i64,
    pub(super) boot_ns: u64,
    pub(super) begins: bool,
    pub(super) test: Option<String>,
    pub(super) name: String,
    /// The process that it names, and the memory of it where that was read.
    pub(super) pid: Option<i32>,
    pub(super) state: Option<MarkedState>,
    /// What else it says: a JSON object of texts.
    pub(super) labels: Option<String>,
}

/// Returns what the labels of a mark say under one of them.
pub(super) fn label_of(labels: &str, label: &str) -> Option<String> {
    serde_json::from_str::<HashMap<String, String>>(labels).ok()?.remove(label)
}

/// Reads the marks. Of those at the same instant, the first that was written comes first.
///
/// # Errors
///
/// The table cannot be read.
pub(super) fn span_marks(recording: &Recording) -> io::Result<impl Iterator<Item = SpanMark>> {
    let columns = [
        "ts",
        "boot_ns",
        "kind",
        "name",
        "test",
        "pid",
        "rss_bytes",
        "anon_bytes",
        "hwm_bytes",
        "labels",
    ];
    let mut marks = BTreeMap::new();
    for batch in recording.read_table("marks", &columns) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let boot = numbers::<Int64Type>(&batch, "boot_ns")?.values();
        let pid = numbers::<Int32Type>(&batch, "pid")?;
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (rss, anon, hwm) = (number("rss_bytes")?, number("anon_bytes")?, number("hwm_bytes")?);
        let (kind, name) = (strings(&batch, "kind")?, strings(&batch, "name")?);
        let (test, labels) = (strings(&batch, "test")?, strings(&batch, "labels")?);
        for (row, (&ts_ms, boot_ns)) in ts.iter().zip(boot).enumerate() {
            let begins = match kind.value(row) {
                word if word == MarkKind::Begin.as_str() => true,
                word if word == MarkKind::End.as_str() => false,
                _ => continue,
            };
            let boot_ns = boot_ns.unsigned_abs();
            let state = known(rss, row).map(|rss_bytes| MarkedState {
                rss_bytes,
                anon_bytes: known(anon, row),
                hwm_bytes: known(hwm, row),
            });
            let mark = SpanMark {
                ts_ms,
                boot_ns,
                begins,
                test: text_at(test, row),
                name: name.value(row).to_owned(),
                pid: pid.is_valid(row).then(|| pid.value(row)),
                state,
                labels: text_at(labels, row),
            };
            marks.insert((boot_ns, marks.len()), mark);
        }
    }
    Ok(marks.into_values())
}

#[cfg(test)]
impl SpanMark {
    /// A mark of a test about no process.
    pub(super) fn of_test(
        test: &str,
        name: &str,
        begins: bool,
        (ts_ms, boot_ns): (i64, u64),
    ) -> Self {
        Self {
            ts_ms,
            boot_ns,
            begins,
            test: Some(test.to_owned()),
            name: name.to_owned(),
            pid: None,
            state: None,
            labels: None,
        }
    }
}
