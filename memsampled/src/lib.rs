//! What the programs `memsample` and `memsampled` are made of, so that tests reach it.
//!
//! ```text
//! suite file ─ suite ─▶ Suite ─ runner ─▶ Event ─ report ─▶ terminal, results.json, JUnit
//! ```
#![forbid(unsafe_code)]

pub mod runner;
pub mod suite;
