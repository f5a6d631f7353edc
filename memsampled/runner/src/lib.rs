//! Runs suites of tests and says what became of them.
//!
//! ```text
//! suite ─▶ plan ─▶ sandbox ─▶ run ─▶ results ─▶ report
//! ```
//!
//! - [`suite`]: what a suite file says.
//! - [`plan`]: which attempts of which tests are run, and in which order.
//! - [`sandbox`]: what is between a test and the machine.
//! - [`run`]: runs the attempts, records what they use, and decides how each ended.
//! - [`results`]: the model of `results.json`. `plan`, `sandbox` and `run` speak of attempts in its terms; it knows none
//!   of them.
//! - [`report`]: what a person or a CI server reads.
//! - [`doctor`]: which sandboxes, limits and kernel sources work on this machine.
#![forbid(unsafe_code)]

pub mod doctor;
mod output;
pub mod plan;
mod replace;
pub mod report;
pub mod results;
pub mod run;
pub mod sandbox;
pub mod suite;

pub use replace::replace;
