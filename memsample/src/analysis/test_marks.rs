//! The marks of tests, in the order of time.

use std::collections::BTreeMap;
use std::io;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::composition::known;
use crate::recording::{Recording, numbers};
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

/// A mark at the begin or the end of something that belongs to a test.
#[derive(Clone, Debug)]
pub(super) struct TestMark {
    /// Milliseconds since 1970, and nanoseconds since boot.
    pub(super) ts_ms: i64,
    pub(super) boot_ns: u64,
    pub(super) begins: bool,
    pub(super) test: String,
    pub(super) name: String,
    /// The process that it names, and the memory of it where that was read.
    pub(super) pid: Option<i32>,
    pub(super) state: Option<MarkedState>,
}

/// Reads the marks of tests. Of those at the same instant, the first that was written comes first.
///
/// # Errors
///
/// The table cannot be read.
pub(super) fn test_marks(recording: &Recording) -> io::Result<impl Iterator<Item = TestMark>> {
    let columns =
        ["ts", "boot_ns", "kind", "name", "test", "pid", "rss_bytes", "anon_bytes", "hwm_bytes"];
    let mut marks = BTreeMap::new();
    for batch in recording.read_table("marks", &columns) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let boot = numbers::<Int64Type>(&batch, "boot_ns")?.values();
        let pid = numbers::<Int32Type>(&batch, "pid")?;
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (rss, anon, hwm) = (number("rss_bytes")?, number("anon_bytes")?, number("hwm_bytes")?);
        let text = |name| {
            let column = batch.column_by_name(name);
            let column = column.and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| io::Error::other(format!("no column `{name}` of its type")))
        };
        let (kind, name, test) = (text("kind")?, text("name")?, text("test")?);
        for (row, (&ts_ms, boot_ns)) in ts.iter().zip(boot).enumerate() {
            let begins = match kind.value(row) {
                word if word == MarkKind::Begin.as_str() => true,
                word if word == MarkKind::End.as_str() => false,
                _ => continue,
            };
            if test.is_null(row) {
                continue;
            }
            let boot_ns = boot_ns.unsigned_abs();
            let state = known(rss, row).map(|rss_bytes| MarkedState {
                rss_bytes,
                anon_bytes: known(anon, row),
                hwm_bytes: known(hwm, row),
            });
            let mark = TestMark {
                ts_ms,
                boot_ns,
                begins,
                test: test.value(row).to_owned(),
                name: name.value(row).to_owned(),
                pid: pid.is_valid(row).then(|| pid.value(row)),
                state,
            };
            marks.insert((boot_ns, marks.len()), mark);
        }
    }
    Ok(marks.into_values())
}
