//! Recordings and the results of runs in the formats of other tools.
//!
//! ```text
//! Results, Recording ─▶ figures: what a test or a role used at most ─▶ gitlab, bencher, jenkins_plot
//! Recording ─▶ series: sums of roles or processes, tick by tick     ─▶ openmetrics, trace ─▶ chrome, perfetto
//! Recording, directory of a run ─▶ table: rows as they are          ─▶ csv, arrow
//! ```
//!
//! Everything is written as it is read, row group after row group: the memory that an export needs does not grow with
//! the length of the recording. docs/export.md says what is in each format, with its units.
#![forbid(unsafe_code)]

mod figures;
mod series;
mod table;
mod trace;

pub mod arrow;
pub mod bencher;
pub mod chrome;
pub mod csv;
pub mod gitlab;
pub mod jenkins_plot;
pub mod openmetrics;
#[cfg(feature = "perfetto")]
pub mod perfetto;

pub use figures::{Figure, Figures, Measure, figures_of_recording, figures_of_run};
pub use series::{By, Group, Groups, MAX_GROUPS};
pub use table::{Rows, rows_of_recording, rows_of_run};
