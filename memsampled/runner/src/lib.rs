//! Runs suites of tests and says what became of them.
//!
//! ```text
//! suite file ─ suite ─▶ Suite ─ runner ─▶ Event ─ report ─▶ terminal, results.json, JUnit
//! ```
#![forbid(unsafe_code)]

pub mod report;
pub mod runner;
pub mod suite;
