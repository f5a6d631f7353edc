//! What people and programs read of a run: made of [`Event`](crate::runner::Event)s, and of nothing else.
//!
//! ```text
//! Event ─┬─ terminal ─▶ lines, or a live display
//!        └─ Collector ─▶ SuiteResult ─┬─ terminal::table ─▶ what is printed last
//!                                     ├─ results ─▶ results.json
//!                                     └─ junit ─▶ junit.xml
//! ```
//!
//! It never runs anything. Files are written whole or not at all.

pub mod junit;
mod output_tail;
mod replace;
pub mod results;
mod suite_result;
pub mod terminal;
mod wording;

pub use replace::replace;
pub use suite_result::{Collector, SuiteOutcome, SuiteResult, TestVerdict};
