//! Compares the memory of the tests of two releases: which got worse, by how much, and is it noise?
//!
//! ```text
//! Results of runs ─▶ sides: the numbers of each test ─▶ decision: suspect, then confirm ─▶ Comparison ─▶ report
//! ```
//!
//! - [`statistics`]: tests and estimates over slices. They know nothing of tests or bytes.
//! - [`decision`]: what many comparisons of numbers say together, at levels that add up to 5 % of suites.
//! - [`environment`]: what two runs must have in common.
//! - [`comparison`]: what the results of runs say.
//! - [`mod@releases`] and [`mod@trend`]: what many releases say of each test, one after the other.
//! - [`history`]: how much builds differ of which nothing has changed.
//! - [`suspects`]: the file that says what to run again.
//! - [`report`]: what a person reads.
//!
//! docs/compare.md describes the method and what it finds in a simulation.
#![forbid(unsafe_code)]

pub mod comparison;
pub mod decision;
pub mod environment;
pub mod history;
mod limit;
mod quantity;
pub mod releases;
mod repeats;
pub mod report;
mod sides;
pub mod statistics;
pub mod suspects;
pub mod trend;

pub use comparison::{CompareError, Comparison, Options, compare};
pub use history::History;
pub use limit::Limit;
pub use quantity::Quantity;
pub use releases::{Release, releases};
pub use repeats::Repeats;
pub use sides::{Number, Run};
pub use trend::{Trend, TrendOptions, trend};
