//! What the programs `memsample` and `memsampled` are made of, so that tests reach it.
//!
//! ```text
//! suite file ─ suite ─▶ Suite ─ runner ─▶ Event ─ report ─▶ terminal, results.json, JUnit
//! request ─ api ─▶ daemon ─▶ recording          client ─▶ daemon
//! ```
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod config;
pub mod daemon;
pub mod quantity;
pub mod report;
pub mod runner;
pub mod suite;
