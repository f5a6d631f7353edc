//! The rows of a table, as they are in the Parquet files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::SchemaRef;
use memsample::schema::{Table, result_tables, tables};
use memsample::{Recording, read_test_table};

/// The rows of a table, and its columns.
pub struct Rows<'a> {
    /// The columns, in their order.
    pub schema: SchemaRef,
    table: &'static str,
    source: Source<'a>,
}

/// Where the rows are.
enum Source<'a> {
    Recording(&'a Recording),
    /// The directory of a run.
    Run(&'a Path),
}

impl Rows<'_> {
    /// Passes on batch after batch, each with all columns: one that a file does not have is null.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or what `each` says.
    pub(crate) fn for_each(
        self,
        each: impl FnMut(&RecordBatch) -> io::Result<()>,
    ) -> io::Result<()> {
        let fields = self.schema.fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        match self.source {
            Source::Recording(recording) => {
                completed(&self.schema, recording.read_table(self.table, &names), each)
            }
            Source::Run(directory) => {
                completed(&self.schema, read_test_table(directory, self.table, &names)?, each)
            }
        }
    }
}

/// Passes on batches with all columns of a schema.
fn completed(
    schema: &SchemaRef,
    batches: impl Iterator<Item = io::Result<RecordBatch>>,
    mut each: impl FnMut(&RecordBatch) -> io::Result<()>,
) -> io::Result<()> {
    for batch in batches {
        let batch = batch?;
        let columns = schema.fields().iter().map(|field| {
            let column = batch.column_by_name(field.name()).cloned();
            column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        });
        let whole = RecordBatch::try_new(Arc::clone(schema), columns.collect());
        each(&whole.map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// Returns the rows of a table of a recording, such as `samples`.
///
/// # Errors
///
/// Of kind `InvalidInput` where recordings have no such table.
pub fn rows_of_recording<'a>(recording: &'a Recording, name: &str) -> io::Result<Rows<'a>> {
    Rows::of(tables(), name, Source::Recording(recording))
}

/// Returns the rows of a table of a run, `tests` or `test_roles`.
///
/// # Errors
///
/// Of kind `InvalidInput` where runs have no such table.
pub fn rows_of_run<'a>(directory: &'a Path, name: &str) -> io::Result<Rows<'a>> {
    Rows::of(result_tables(), name, Source::Run(directory))
}

impl<'a> Rows<'a> {
    fn of(tables: Vec<Table>, name: &str, source: Source<'a>) -> io::Result<Self> {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let message = format!("there is no table `{name}`; there are {}", names.join(", "));
        let found = tables.into_iter().find(|table| table.name == name);
        let table = found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, message))?;
        Ok(Self { schema: table.arrow_schema(), table: table.name, source })
    }
}
