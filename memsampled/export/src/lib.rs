//! Recordings and the results of runs in the formats of other tools.
//!
//! ```text
//! Results, Recording ─▶ figures: what a test or a role used at most ─▶ gitlab, bencher, jenkins_plot
//! Recording ─▶ series: sums of roles or processes, tick by tick     ─▶ openmetrics, trace ─▶ chrome, perfetto
//! Recording, directory of a run ─▶ table: rows as they are          ─▶ csv, arrow
//! ```
//!
//! Samples are written as they are read, row group after row group. What an export keeps in memory grows with the process
//! images of the recording, which it knows by their roles, and with its ticks, by some bytes each; it does not grow with
//! the samples. docs/export.md says what is in each format, with its units.
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
