//! The attempts of a run, from the tables `tests` and `test_roles` of a store.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use memsample_store::{ErrorKind, Manifest, Store, StoreError, StoredFile};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

/// The largest file of a table that is read: a compacted one of a day.
const MAX_BYTES: u64 = 512 << 20;
/// What is read of both tables, as far as they have it.
const COLUMNS: [&str; 11] = [
    "test",
    "role",
    "repetition",
    "attempt",
    "outcome",
    "rss_peak_bytes",
    "rss_peak_bytes_upper",
    "pss_peak_bytes",
    "anon_peak_bytes",
    "group_peak_bytes",
    "duration_ns",
];

/// An attempt of a test, or what a role had in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) test: String,
    /// Empty for the test as a whole.
    pub(super) role: String,
    pub(super) repetition: i32,
    pub(super) attempt: i32,
    /// Empty for a role.
    pub(super) outcome: String,
    pub(super) rss_peak_bytes: Option<i64>,
    pub(super) rss_peak_bytes_upper: Option<i64>,
    pub(super) pss_peak_bytes: Option<i64>,
    pub(super) anon_peak_bytes: Option<i64>,
    pub(super) group_peak_bytes: Option<i64>,
    pub(super) duration_ns: Option<i64>,
}

/// Reads the attempts of a run.
pub(super) fn attempts(store: &Store, manifest: &Manifest) -> Result<Vec<Attempt>, StoreError> {
    let mut attempts = Vec::new();
    for file in &manifest.files {
        let is_wanted = file.path.is_none()
            && file.table.as_deref().is_some_and(|table| table == "tests" || table == "test_roles");
        if is_wanted {
            let bytes = store.read(&file.object, MAX_BYTES)?;
            rows(bytes, file, &mut attempts)?;
        }
    }
    Ok(attempts)
}

fn rows(bytes: Bytes, file: &StoredFile, attempts: &mut Vec<Attempt>) -> Result<(), StoreError> {
    let damaged = |why: String| {
        StoreError::new(ErrorKind::Damaged, format!("`{}` is damaged: {why}", file.object))
    };
    // What is damaged may panic within the library: it is read only if it is what was pushed.
    if !file.has(&bytes) {
        return Err(damaged("its bytes are not those that were pushed".to_owned()));
    }
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
    let builder = builder.map_err(|error| damaged(error.to_string()))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let builder = builder.with_projection(mask);
    let builder = match &file.row_groups {
        Some(groups) => {
            let all = builder.metadata().num_row_groups();
            let first = usize::try_from(groups.first).unwrap_or(all).min(all);
            let count = usize::try_from(groups.count).unwrap_or(all).min(all - first);
            let groups: Range<usize> = first..first + count;
            builder.with_row_groups(groups.collect())
        }
        None => builder,
    };
    for batch in builder.build().map_err(|error| damaged(error.to_string()))? {
        of_batch(&batch.map_err(|error| damaged(error.to_string()))?, attempts);
    }
    Ok(())
}

fn of_batch(batch: &RecordBatch, attempts: &mut Vec<Attempt>) {
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let number = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let small = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int32Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    attempts.extend((0..batch.num_rows()).map(|row| Attempt {
        test: text("test", row).unwrap_or_default(),
        role: text("role", row).unwrap_or_default(),
        repetition: small("repetition", row).unwrap_or(1),
        attempt: small("attempt", row).unwrap_or(1),
        outcome: text("outcome", row).unwrap_or_default(),
        rss_peak_bytes: number("rss_peak_bytes", row),
        rss_peak_bytes_upper: number("rss_peak_bytes_upper", row),
        pss_peak_bytes: number("pss_peak_bytes", row),
        anon_peak_bytes: number("anon_peak_bytes", row),
        group_peak_bytes: number("group_peak_bytes", row),
        duration_ns: number("duration_ns", row),
    }));
}
