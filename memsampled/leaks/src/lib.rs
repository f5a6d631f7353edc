//! Judges from a series of memory whether it leaks: `docs/leaks.md` says how, and how often it errs.
//!
//! ```text
//! series ─▶ slope, swings, csv_file ─▶ shape ─▶ judge
//! judgement ───────────────────────────────────┘
//! ```

#![forbid(unsafe_code)]

mod csv_file;
mod judge;
mod judgement;
mod series;
mod shape;
mod slope;
mod swings;

pub use csv_file::{BadCsv, MAX_ROWS, read_csv};
pub use judge::{MIN_SAMPLES, judge};
pub use judgement::{Judgement, Rate, Verdict};
pub use series::{BadSeries, Sample, Series};
