//! Judges from a series of memory whether it leaks: `docs/leaks.md` says how, and how often it errs.
//!
//! ```text
//! series ─▶ slope, swings, csv_file ─▶ shape ─▶ judge ─▶ roles
//! judgement ───────────────────────────────────┘          │
//! recording ─▶ marks, role_series ────────────────────────┘
//! ```
//!
//! - [`judge()`] knows nothing of recordings: any series can be judged.
//! - [`judge_roles`] judges the roles of a recording.

#![forbid(unsafe_code)]

mod csv_file;
mod judge;
mod judgement;
mod marks;
mod role_series;
mod roles;
mod series;
mod shape;
mod slope;
mod swings;

pub use csv_file::{BadCsv, MAX_ROWS, read_csv};
pub use judge::{MIN_SAMPLES, judge, judge_within};
pub use judgement::{Judgement, Rate, Verdict};
pub use roles::{Judged, RoleJudgement, judge_roles};
pub use series::{BadSeries, Sample, Series};
