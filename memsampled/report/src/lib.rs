//! Reports of a run or of a recording: what became of each test, who had the memory of the machine when, and how far
//! the numbers can be trusted.
//!
//! ```text
//! Recording ─▶ timeline, machine, marks, limits, sampling ─┐
//! Results ─────────────────────────────────────────────────┴▶ Report ─▶ html, markdown, text
//! ```
//!
//! - [`curve`]: curves that keep their peaks when points are left out.
//! - [`recorded`]: what a recording says over time. It is read once, row group by row group.
//! - [`report`]: the model of a report. What is shown is in there, and nothing is computed while it is drawn.
//! - [`html`], [`markdown`], [`text`]: what a person reads.
//!
//! docs/report.md describes what a report shows.
#![forbid(unsafe_code)]

pub mod curve;
pub mod html;
pub mod markdown;
pub mod recorded;
pub mod report;
mod sparkline;
pub mod text;
mod wording;

pub use report::{Report, Source};
