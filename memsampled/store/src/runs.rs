//! The small tables that a push makes for the store: `runs`, one row for each run, and `tests` and `test_roles` with
//! what says which run and release a row is of, so that a thousand runs are one query.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use memsample::read_test_table_of;
use memsample::schema::result_tables;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{ErrorKind, StoreError};
use crate::manifest::Manifest;
use crate::tree::Tree;

/// The table of runs.
pub const RUNS: &str = "runs";

/// What every row of the small tables begins with. Of a file with the rows of many runs, the keys `host` and `run` of its
/// partition say nothing: these columns are right in any file.
fn keys(manifest: &Manifest) -> [(&'static str, Option<&str>); 3] {
    [
        ("run_id", Some(&manifest.run)),
        ("host_name", Some(&manifest.host)),
        ("release", manifest.release.as_deref()),
    ]
}

fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// Returns the table `runs` of a run as the bytes of a Parquet file.
///
/// # Errors
///
/// Never for a manifest that was read.
pub fn runs(manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut text = |name: &str, value: Option<&str>| {
        fields.push(text_field(name, true));
        arrays.push(Arc::new(StringArray::from(vec![value])));
    };
    for (name, value) in keys(manifest) {
        text(name, value);
    }
    let labels = serde_json::to_string(&manifest.labels).unwrap_or_default();
    text("suite", Some(&manifest.suite));
    text("name", Some(&manifest.name));
    text("outcome", manifest.outcome.as_deref());
    text("commit", manifest.commit.as_deref());
    text("kernel", manifest.kernel.as_deref());
    text("memsample", Some(&manifest.memsample));
    text("labels", Some(&labels));
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    fields.push(Field::new("started", timestamp, true));
    let started = manifest.started.map(|it| it.as_millisecond());
    arrays.push(Arc::new(TimestampMillisecondArray::from(vec![started]).with_timezone("UTC")));
    let mut number = |name: &str, value: Option<u64>| {
        fields.push(Field::new(name, DataType::Int64, true));
        let value = value.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        arrays.push(Arc::new(Int64Array::from(vec![value])));
    };
    number("duration_ns", manifest.duration_ns);
    number("cpus", manifest.cpus);
    number("memory_bytes", manifest.memory_bytes);
    number("tests", manifest.outcome.as_ref().map(|_| manifest.counts.values().sum()));
    number(
        "tests_passed",
        manifest.outcome.as_ref().map(|_| manifest.counts.get("passed").copied().unwrap_or(0)),
    );
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(failed)?;
    written(schema, &[batch])
}

/// Returns `tests` or `test_roles` of a run with the columns `run_id`, `host_name` and `release` in front, as the bytes of a Parquet file.
/// `None` where the run has no such table.
///
/// # Errors
///
/// The file is damaged.
pub(crate) fn keyed(
    tree: &Tree,
    directory: &Path,
    name: &str,
    manifest: &Manifest,
) -> Result<Option<Vec<u8>>, StoreError> {
    let file = format!("{name}.parquet");
    let path = directory.join(&file);
    let opened = match tree.file(Path::new(&file)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(StoreError::local(format!("cannot read `{}`", path.display()), error));
        }
    };
    let tables = result_tables();
    let Some(table) = tables.iter().find(|table| table.name == name) else { return Ok(None) };
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let named = |error: std::io::Error| {
        StoreError::because(
            ErrorKind::Damaged,
            format!("cannot read `{}`", directory.display()),
            error,
        )
    };
    let mut batches = Vec::new();
    for batch in read_test_table_of(opened, &path, &columns).map_err(named)? {
        batches.push(with_keys(&batch.map_err(named)?, manifest)?);
    }
    if batches.is_empty() {
        batches.push(with_keys(&RecordBatch::new_empty(table.arrow_schema()), manifest)?);
    }
    let Some(first) = batches.first() else { return Ok(None) };
    written(first.schema(), &batches).map(Some)
}

fn with_keys(batch: &RecordBatch, manifest: &Manifest) -> Result<RecordBatch, StoreError> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, value) in keys(manifest) {
        fields.push(Arc::new(text_field(name, true)));
        arrays.push(Arc::new(StringArray::from(vec![value; batch.num_rows()])));
    }
    fields.extend(batch.schema().fields().iter().cloned());
    arrays.extend(batch.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(failed)
}

fn written(schema: SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, StoreError> {
    let level = ZstdLevel::try_new(3).map_err(failed)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::because(ErrorKind::Damaged, "cannot write a table", error)
}
