//! The tables of a recording and of a run: their columns, and the rows of the small ones.
//!
//! Arrow schemas, Parquet encodings, the rows of the small tables and `docs/schema.md` all derive from here. A
//! column name ends in its unit. A list of fields gives both the columns of a small table and the values of its
//! rows, so the two cannot differ.

mod document;
mod field;
mod known_pss;
mod samples;
mod table;
mod totals;

pub(crate) mod cgroups;
pub(crate) mod exits;
pub(crate) mod marks;
pub(crate) mod processes;
pub(crate) mod system;
pub(crate) mod tests;
pub(crate) mod ticks;

pub use document::{document, tables};
#[cfg(test)]
pub(crate) use field::Value;
pub(crate) use field::{Cell, Field, Fields, int64};
pub use known_pss::KnownPss;
pub use samples::samples;
pub use table::{Column, ColumnKind, Table};
pub use tests::{AttemptKey, TestCounts, TestGroup, TestPeak, TestRoleRow, TestRow, result_tables};
pub use totals::Totals;

/// The version of the recording's format, in `recording.json` and in every file's key-value metadata.
///
/// Raised when a reader of the version before would misread a file; a new column does not raise it.
pub const FORMAT_VERSION: u32 = 2;

#[cfg(test)]
mod names {
    use std::collections::BTreeMap;

    use super::*;

    /// The names that more than one table has, since they mean the same there.
    const SHARED: [&str; 28] = [
        "anon_bytes",
        "attempt",
        "cgroup",
        "comm",
        "exit_code",
        "exit_hwm_bytes",
        "exit_past_hwm_bytes",
        "hwm_bytes",
        "majflt",
        "minflt",
        "pid",
        "process",
        "processes",
        "recording",
        "repetition",
        "role",
        "rss_bytes",
        "rss_peak_bytes",
        "rss_peak_bytes_upper",
        "samples",
        "signal",
        "start_ns",
        "stime_ns",
        "suite",
        "test",
        "ts",
        "uid",
        "utime_ns",
    ];

    #[test]
    fn a_name_means_the_same_in_every_table() {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for table in tables().iter().chain(&result_tables()) {
            for column in &table.columns {
                found.entry(column.name).or_default().push(table.name);
            }
        }
        found.retain(|_, tables| tables.len() > 1);
        let shared: Vec<&str> = found.into_keys().collect();
        assert_eq!(shared, SHARED);
    }
}
