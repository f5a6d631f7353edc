//! The directory on disk: how it is written, put together after a crash, and opened.
//!
//! ```text
//! batches ─ writer ─▶ journal/000000.log          at once; lost by nothing but a broken disk
//!             ├─ images: who is being sampled
//!             ├─ segment: samples since the last checkpoint
//!             └─ rows ─ table ─▶ NAME.parquet     tails every 30 s, settled at each checkpoint
//! ```

mod copied_row_group;
mod delta_runs;
mod distinct;
mod id;
mod images;
mod instant;
mod last_reading;
mod layout;
mod level_runs;
mod manifest;
mod new_table;
mod open;
mod page_compressor;
mod parquet_file;
mod purpose;
mod row_columns;
#[cfg(test)]
mod row_tests;
mod run_column;
mod sample_columns;
#[cfg(test)]
mod sample_tests;
mod table;
mod tables;
mod test_tables;
mod writer;
mod written_images;

pub use instant::{InstantError, RecordedInstant, RecordedProcess};
pub use last_reading::LastReading;
pub use manifest::{
    ClockAnchor, Cut, End, ForksBy, Machine, Manifest, Provenance, Quantiles, RecorderUsage,
    RecordingState, Settings, SweepsFrom,
};
pub use open::{OpenError, Recording, Recovery};

pub(crate) use id::new_recording_id;
pub(crate) use images::ImageRow;
pub(crate) use layout::{Lock, RecordingDirectory};
pub(crate) use manifest::{file_names, millis, write_manifest};
pub(crate) use new_table::NewTable;
pub(crate) use table::Origin;
pub use test_tables::{read_test_table, read_test_table_of, write_test_tables};
pub use writer::is_disk_full;
pub(crate) use writer::{Closed, RecordingWriter};
