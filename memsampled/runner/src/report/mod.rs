//! What people and programs read of a run, made of [`Event`](crate::run::Event)s and of nothing else.
//!
//! ```text
//! Event ─┬─ terminal ─▶ lines, or a live display
//!        └─ Collector ─▶ SuiteResult ─┬─ terminal::table ─▶ what is printed last
//!                                     ├─ Results ─▶ results.json
//!                                     └─ junit ─▶ junit.xml
//! ```
//!
//! It never runs anything.

mod collector;
pub mod junit;
mod output_tail;
pub mod terminal;

pub use collector::{Collector, SuiteResult};
