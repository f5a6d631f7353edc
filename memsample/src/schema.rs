//! The one table of the recording's tables and columns.
//!
//! Arrow schemas, Parquet encodings, the rows of the small tables and `docs/schema.md` all derive
//! from here. A column name ends in its unit.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::metric::Metric;

/// The version of the recording's format, in `recording.json` and in every file's key-value metadata.
///
/// Raised when a reader of the version before would misread a file; a new column does not raise it.
pub const FORMAT_VERSION: u32 = 1;

/// One table of a recording: the file `NAME.parquet`, continued in `NAME-0002.parquet` and so on.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name of the file, without extension.
    pub name: &'static str,
    /// What one row stands for.
    pub row: &'static str,
    /// The columns by which the rows of each row group are sorted, ascending.
    pub sorted_by: &'static [&'static str],
    /// The columns, in the order of the file.
    pub columns: Vec<Column>,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name, which ends in the unit.
    pub name: &'static str,
    /// The type of the values.
    pub kind: ColumnKind,
    /// Whether a value may be absent, which always means "not read" or "not known", never zero.
    pub nullable: bool,
    /// Where the number comes from.
    pub source: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// The types of columns, chosen so that every common Parquet reader knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Milliseconds since 1970 in UTC: `TIMESTAMP(MILLIS, isAdjustedToUTC)`.
    Timestamp,
    /// A signed 64-bit number.
    Int64,
    /// A signed 32-bit number.
    Int32,
    /// Text in UTF-8; bytes that are not are written as `\xNN`.
    Text,
    /// True or false.
    Flag,
}

impl ColumnKind {
    fn arrow_type(self) -> DataType {
        match self {
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Text => DataType::Utf8,
            Self::Flag => DataType::Boolean,
        }
    }

    const fn document(self) -> &'static str {
        match self {
            Self::Timestamp => "TIMESTAMP ms UTC",
            Self::Int64 => "INT64",
            Self::Int32 => "INT32",
            Self::Text => "STRING",
            Self::Flag => "BOOLEAN",
        }
    }
}

impl Table {
    /// Returns the Arrow schema.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        let field =
            |column: &Column| Field::new(column.name, column.kind.arrow_type(), column.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }
}

/// The columns of `samples` that stand before the metrics.
pub(crate) const SAMPLE_KEY: [Column; 4] = [
    Column {
        name: "ts",
        kind: ColumnKind::Timestamp,
        nullable: false,
        source: "recorder",
        meaning: "The planned instant of the tick: on a regular grid, but for the first and the last one, which are at once. When the sweep really began is in `ticks`.",
    },
    Column {
        name: "process",
        kind: ColumnKind::Int64,
        nullable: false,
        source: "recorder",
        meaning: "The process image: the key of `processes`.",
    },
    Column {
        name: "pid",
        kind: ColumnKind::Int32,
        nullable: false,
        source: "/proc",
        meaning: "Process id. Used again by the kernel for other processes: group by `process`.",
    },
    Column {
        name: "comm",
        kind: ColumnKind::Text,
        nullable: false,
        source: "stat 2",
        meaning: "Command name, as of the last reading of `stat`.",
    },
];

const fn metric_source_and_meaning(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Rss => (
            "statm 2; status VmRSS where `file_bytes` is not null",
            "Resident set. Shared pages count in full for every process: a sum over processes is too large.",
        ),
        Metric::Vsize => ("statm 1; status VmSize", "Virtual size."),
        Metric::Shared => (
            "statm 3; status RssFile + RssShmem",
            "Resident pages backed by files or shared memory.",
        ),
        Metric::Anon => (
            "statm 2 - 3; status RssAnon",
            "Resident anonymous memory: heap, stacks, private data.",
        ),
        Metric::Data => ("statm 6", "Private writable memory and stack, resident or not."),
        Metric::Text => ("statm 4", "Code of the executable, without libraries, resident or not."),
        Metric::File => (
            "status RssFile",
            "Resident pages of mapped files. As the next three, of the last reading of `status`, since which `statm` is the same.",
        ),
        Metric::Shmem => {
            ("status RssShmem", "Resident shared memory: System V, tmpfs, shared anonymous.")
        }
        Metric::Swap => {
            ("status VmSwap", "Swapped-out anonymous memory; shared memory in swap is not counted.")
        }
        Metric::Hwm => {
            ("status VmHWM", "The largest resident set of the process so far; an exec begins anew.")
        }
        Metric::Minflt => ("stat 10", "Page faults without I/O since the process began."),
        Metric::Majflt => ("stat 12", "Page faults with I/O since the process began."),
        Metric::Utime => (
            "stat 14",
            "CPU time in user mode since the process began, all threads; steps of one clock tick (10 ms).",
        ),
        Metric::Stime => (
            "stat 15",
            "CPU time in kernel mode since the process began, all threads; steps of one clock tick.",
        ),
        Metric::Pss => (
            "smaps_rollup Pss",
            "Proportional set: each page divided by the processes that map it. Adds up.",
        ),
        Metric::Uss => (
            "smaps_rollup Private_Clean + Private_Dirty",
            "Unique set: what would be freed if the process ended.",
        ),
        Metric::SwapPss => {
            ("smaps_rollup SwapPss", "Swapped-out memory, each page divided by its users.")
        }
    }
}

/// Returns the table of samples: every process at every tick.
#[must_use]
pub fn samples() -> Table {
    let metric_column = |metric: Metric| {
        let (source, meaning) = metric_source_and_meaning(metric);
        Column {
            name: metric.name(),
            kind: ColumnKind::Int64,
            nullable: !metric.is_in_every_row(),
            source,
            meaning,
        }
    };
    Table {
        name: "samples",
        row: "one process at one tick",
        sorted_by: &["process", "ts"],
        columns: SAMPLE_KEY.into_iter().chain(Metric::ALL.into_iter().map(metric_column)).collect(),
    }
}

/// Returns every table of a recording.
#[must_use]
pub fn tables() -> Vec<Table> {
    use crate::recording::rows::{cgroups, exits, marks, processes, system, ticks};
    vec![
        samples(),
        processes::table(),
        exits::table(),
        ticks::table(),
        system::table(),
        cgroups::table(),
        marks::table(),
    ]
}

/// Returns `docs/schema.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# The columns of a recording\n\n\
         Made from `memsample/src/schema.rs` and `memsample/src/recording/rows/` by `make docs`; a test compares.\n\n\
         Bytes are bytes, not KiB, and times are nanoseconds unless the name says otherwise.\n\
         A null means \"not read on that tick\" or \"not known\", never zero.\n\
         A number larger than the column's type can hold is stored as the largest one.\n\
         A table may continue in a second file, so read `NAME*.parquet`.\n",
    );
    for table in tables() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## {}\n\nOne row: {}. Sorted by {} within each row group.\n\n\
             | column | type | null | source | meaning |\n|---|---|---|---|---|\n",
            table.name,
            table.row,
            table.sorted_by.join(", "),
        );
        for column in &table.columns {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                column.name,
                column.kind.document(),
                if column.nullable { "yes" } else { "" },
                column.source.replace('|', "\\|"),
                column.meaning.replace('|', "\\|"),
            );
        }
    }
    text
}
