//! Reports of a run or of a recording: what became of each test, who had the memory of the machine when, and how far
//! the numbers can be trusted.
//!
//! ```text
//! Recording ─▶ timeline, machine, marks, limits, sampling ─┐
//! Results ─────────────────────────────────────────────────┴▶ Report ─▶ html, markdown, text
//! ```
//!
//! - [`curve`]: curves that keep their peaks when points are left out.
//! - [`recorded`]: what a recording says over time. Its samples are read row group by row group, once; twice where the
//!   table of processes leaves open which roles are the largest.
//! - [`report`]: the model of a report. Every number that is shown is in there; drawing leaves points out and places what
//!   is drawn.
//! - [`side_by_side`]: the model of a comparison, with the curves and the repeats of both sides.
//! - [`html`], [`markdown`], [`text`]: what a person reads.
//!
//! docs/report.md describes what a report shows.
#![forbid(unsafe_code)]

pub mod curve;
pub mod html;
pub mod markdown;
pub mod recorded;
pub mod report;
pub mod side_by_side;
mod sparkline;
pub mod text;
mod wording;

pub use report::{Report, Source};
pub use side_by_side::SideBySide;
