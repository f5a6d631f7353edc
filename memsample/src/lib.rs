//! High-rate memory telemetry for Linux: reads the memory of every process in milliseconds, up to a
//! thousand times a second, and writes compressed Parquet.
//!
//! Two ways in:
//!
//! - [`Sampler`] makes sweeps over all processes, into memory that it uses again. For a single look
//!   [`ProcessReader`] reads less.
//! - [`Recorder`] samples in the background and writes a recording, a directory of Parquet files that
//!   [`Recording`] opens, as do DuckDB, Polars, pandas and pyarrow.
//!
//! ```
//! use memsample::{Files, Sampler, SamplerOptions};
//!
//! let mut sampler = Sampler::new(SamplerOptions::default())?;
//! let snapshot = sampler.sweep(Files::STATM);
//! let largest = snapshot.samples().max_by_key(|sample| sample.rss_bytes()).expect("this process");
//! println!("{} ({}) has {} bytes resident", largest.comm(), largest.pid(), largest.rss_bytes());
//! # std::io::Result::Ok(())
//! ```
//!
//! # Layers
//!
//! A module imports only modules above it in this list, and no two files import each other; the package
//! `memsample-layers` of the repository checks both.
//!
//! 1. Vocabulary: `units`, `error`, `host`, `clock`, `identity`, `metric`, `counts`, `scope`, `slot`, `slot_map`,
//!    `replace_file`, `columns`; `pattern`, `role`, `role_rule` and `identity_rules`, which describe a process image.
//! 2. `parse`: the bytes of `/proc` files to values. `codec`: values as bytes.
//! 3. `cgroups`: where control groups are. `proc`: opening and listing `/proc`. `events`: what the kernel reports
//!    over netlink.
//! 4. `schema`: the columns of all tables and the rows of the small ones.
//! 5. `batch`: what some ticks changed. `cgroup_reader`: the files of control groups.
//! 6. `sampler`: reading processes. `journal`, `segment`: batches on disk and in memory.
//! 7. `machine`, `process_reader`: reading the machine, and one process. `recording`: the directory of Parquet files.
//! 8. `recorder`: sampling and writing in the background. `import`: recordings made of captures. `excerpt`: recordings
//!    made of recordings. `analysis`, `view`: what recordings say. `kernel_source`: what works on this machine.
//! 9. `flight`: recordings cut out of the last minutes.
//!
//! # How data flows
//!
//! ```text
//! /proc ─ proc ─▶ bytes ─ parse ─▶ Statm… ─ sampler ─▶ Snapshot
//!                                              │ what changed
//!                                              ▼
//!            recorder: sampling thread ══ batch ══▶ writing thread
//!                                                       │
//!                  recording: journal at once, then segment ─▶ Parquet
//! ```
//!
//! # Numbers
//!
//! Every number has a unit in its name or type, a source in `/proc`, and a known error; the columns
//! are listed in [`schema::document`]. What was not read is `None` or null, never zero. What could not
//! be read is counted in [`SweepCounts`] and in the `ticks` table.
//!
//! # What it does not do
//!
//! It opens no sockets and starts no programs, never prints or exits, and leaves the limits and
//! signals of the program that links it as they are. It needs Linux 4.5, and 4.14 for PSS.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod cgroups;
pub mod clock;
pub mod columns;
pub mod error;
pub mod parse;
pub mod schema;
pub mod units;
pub mod view;

mod counts;
mod host;
mod identity;
mod identity_rules;
mod metric;
mod pattern;
mod role;
mod role_rule;
mod scope;
#[cfg(test)]
mod simulated_tests;
mod slot;

mod cgroup_reader;
mod events;
mod kernel_source;
mod machine;
mod proc;
mod process_reader;
mod sampler;

mod batch;
mod codec;
mod excerpt;
mod flight;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod journal;
mod recorder;
mod recording;
mod replace_file;
mod segment;
mod slot_map;

pub use counts::SweepCounts;
pub use error::{ParseError, ParseErrorKind, ReadError};
pub use events::{KernelLog, OomLimit, OomVictim};
pub use excerpt::{ExcerptError, KeyError, Pseudonyms, anonymize, anonymize_test_tables, cut};
pub use flight::{DumpError, DumpOptions, FlightOptions, FlightRecorder};
pub use host::{Host, cpus_online};
pub use identity::{Comm, Identity, ProcessId, text};
pub use identity_rules::{KeptArguments, Redaction};
pub use import::{CaptureError, ImportError, import};
pub use kernel_source::KernelSource;
pub use machine::{hidepid_note, processes_only_note};
pub use memsample_bpf::have_one_map;
pub use metric::{Files, Metric, Metrics};
pub use pattern::PatternError;
pub use process_reader::{OpenProcess, PartialMetrics, ProcessFacts, ProcessReader};
pub use recorder::{
    Latest, LatestProcess, LatestRole, MarkError, OptionsError, ProcessState, ProcessStates,
    PssState, Rate, RecordError, Recorder, RecorderOptions, SharedSampler, Status,
};
pub use recording::{
    ClockAnchor, Cut, End, ForksBy, InstantError, LastReading, Machine, Manifest, OpenError,
    Provenance, Quantiles, RecordedInstant, RecordedProcess, RecorderUsage, Recording,
    RecordingState, Recovery, Settings, SweepsFrom, is_disk_full, read_test_table,
    read_test_table_of, write_test_tables,
};
pub use replace_file::replace_file;
pub use role::role;
pub use role_rule::{RoleField, RoleRule, RoleRuleError};
pub use sampler::{Descriptors, PssBudget, Sample, Sampler, SamplerOptions, Snapshot, SweepBy};
pub use schema::{KnownPss, Totals, marks::MarkKind};
pub use scope::{Scope, ScopeError};
