//! Runs suites of tests and says what became of them.
//!
//! ```text
//! suite file ─ suite ─▶ Suite ─ runner ─▶ Event ─ report ─▶ terminal, results.json, JUnit
//! ```
#![forbid(unsafe_code)]

mod replace;
pub mod report;
pub mod results;
pub mod runner;
pub mod suite;

pub use replace::replace;
