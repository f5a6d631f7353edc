//! The tables of a recording: their columns, and the rows of the small ones.
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
pub(crate) mod ticks;

pub use document::{document, tables};
pub(crate) use field::{Fields, int64};
pub use known_pss::KnownPss;
pub use samples::samples;
pub use table::{Column, ColumnKind, Table};
pub use totals::Totals;

/// The version of the recording's format, in `recording.json` and in every file's key-value metadata.
///
/// Raised when a reader of the version before would misread a file; a new column does not raise it.
pub const FORMAT_VERSION: u32 = 2;
