//! What people and programs read of a run, made of [`Event`](crate::run::Event)s and of nothing else.
//!
//! ```text
//! Event ─┬─ terminal ─▶ lines, or a live display
//!        └─ Collector ─▶ SuiteResult ─┬─ terminal::table ─▶ what is printed last
//!                                     ├─ Results ─▶ results.json
//!                                     ├─ junit ─▶ junit.xml
//!                                     └─ github ─▶ the summary and the annotations of GitHub Actions
//! ```
//!
//! It never runs anything.

mod collector;
pub mod github;
pub mod junit;
pub mod terminal;

pub use collector::{Collector, SuiteResult};
