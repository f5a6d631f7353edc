//! The attempts of a run, from the tables `tests` and `test_roles` of a store.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use memsample_runner::results::Verdict;
use memsample_store::download::verified;
use memsample_store::{ErrorKind, Manifest, Store, StoreError, StoredFile};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

/// What is read of both tables, as far as they have it.
const COLUMNS: [&str; 12] = [
    "test",
    "role",
    "repetition",
    "attempt",
    "outcome",
    "exit_code",
    "rss_peak_bytes",
    "rss_peak_bytes_upper",
    "pss_peak_bytes",
    "anon_peak_bytes",
    "group_peak_bytes",
    "duration_ns",
];

/// The largest file with the rows of many runs that is kept until the next run is read, in bytes.
const MAX_KEPT: u64 = 48 << 20;

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
    exit_code: Option<i64>,
    /// Whether it is the last of its repetition and did all that it does: what is cut short uses less.
    pub(super) is_compared: bool,
}

/// The last files that have the rows of many runs, by their table: the next run has its rows there too.
#[derive(Default)]
pub(super) struct LargeFiles(HashMap<String, (StoredFile, Opened)>);

/// A file that is read, and what its footer says.
#[derive(Clone)]
struct Opened {
    bytes: Bytes,
    footer: ArrowReaderMetadata,
}

impl LargeFiles {
    fn open(
        &mut self,
        store: &Store,
        table: &str,
        file: &StoredFile,
    ) -> Result<Opened, StoreError> {
        if let Some((kept, opened)) = self.0.get(table)
            && (&kept.object, &kept.sha256) == (&file.object, &file.sha256)
        {
            return Ok(opened.clone());
        }
        let bytes = verified(store, file)?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let footer = ArrowReaderMetadata::load(&bytes, options)
            .map_err(|error| damaged(file, &error.to_string()))?;
        let opened = Opened { bytes, footer };
        if file.row_groups.is_some() && file.bytes <= MAX_KEPT {
            self.0.insert(table.to_owned(), (file.clone(), opened.clone()));
        }
        Ok(opened)
    }
}

fn damaged(file: &StoredFile, why: &str) -> StoreError {
    StoreError::new(ErrorKind::Damaged, format!("`{}` is damaged: {why}", file.object))
}

/// Reads the attempts of a run.
pub(super) fn attempts(
    store: &Store,
    manifest: &Manifest,
    large: &mut LargeFiles,
) -> Result<Vec<Attempt>, StoreError> {
    let mut attempts = Vec::new();
    for file in &manifest.files {
        let table = file.table.as_deref().filter(|_| file.path.is_none());
        if let Some(table @ ("tests" | "test_roles")) = table {
            rows(large.open(store, table, file)?, file, &mut attempts)?;
        }
    }
    mark_compared(&mut attempts);
    Ok(attempts)
}

/// Says which attempts can be compared, by the rule of `memsample trend`. A role can where its attempt can.
fn mark_compared(attempts: &mut [Attempt]) {
    let mut last: HashMap<(String, i32), (i32, bool)> = HashMap::new();
    for it in attempts.iter().filter(|it| it.role.is_empty()) {
        let of = last.entry((it.test.clone(), it.repetition)).or_insert((it.attempt, false));
        if it.attempt >= of.0 {
            *of = (it.attempt, it.came_to_its_end());
        }
    }
    for it in attempts {
        let of = last.get(&(it.test.clone(), it.repetition));
        it.is_compared = of == Some(&(it.attempt, true));
    }
}

impl Attempt {
    fn came_to_its_end(&self) -> bool {
        let verdict = serde_json::from_value::<Verdict>(self.outcome.as_str().into());
        let exit_code = self.exit_code.and_then(|code| i32::try_from(code).ok());
        verdict.is_ok_and(|verdict| verdict.came_to_its_end(exit_code))
    }
}

fn rows(opened: Opened, file: &StoredFile, attempts: &mut Vec<Attempt>) -> Result<(), StoreError> {
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(opened.bytes, opened.footer);
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
    for batch in builder.build().map_err(|error| damaged(file, &error.to_string()))? {
        of_batch(&batch.map_err(|error| damaged(file, &error.to_string()))?, attempts);
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
        exit_code: number("exit_code", row),
        is_compared: false,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: &[(&str, i32, i32, &str, Option<i64>)], expected: &[bool]) {
        let mut attempts: Vec<Attempt> = rows
            .iter()
            .map(|&(role, repetition, attempt, outcome, exit_code)| Attempt {
                test: "t".to_owned(),
                role: role.to_owned(),
                repetition,
                attempt,
                outcome: outcome.to_owned(),
                exit_code,
                ..Attempt::default()
            })
            .collect();
        mark_compared(&mut attempts);
        assert_eq!(attempts.iter().map(|it| it.is_compared).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_cut_short_or_tried_again_is_not_compared() {
        check(
            &[
                ("server", 1, 1, "", None),
                ("server", 1, 2, "", None),
                ("", 1, 2, "passed", Some(0)),
                ("", 1, 1, "failed", Some(1)),
                ("", 2, 1, "timed_out", None),
                ("", 3, 1, "over_budget", Some(0)),
                ("", 4, 1, "over_budget", Some(1)),
                ("", 5, 1, "a word of later", Some(0)),
                ("server", 6, 1, "", None),
            ],
            &[false, true, true, false, false, true, false, false, false],
        );
    }
}
