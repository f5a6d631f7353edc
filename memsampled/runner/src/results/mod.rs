//! What became of a suite: the results of attempts, tests and the whole, as the runner fills them in and as
//! `results.json` holds them.
//!
//! ```text
//! TestResult, of each attempt ─▶ TestResults ─▶ Results ─▶ results.json ─▶ Results
//! ```
//!
//! Whoever reads `results.json`, such as a comparison of two runs, reads it with [`Results::read`]. Nothing in here
//! runs a test or knows how one is run.

mod anonymized;
mod attempt;
mod budget;
mod build;
mod file;
mod group;
mod leak;
mod memory;
mod origin;
mod outcome;
mod repeated;
mod step;
mod whole;
pub mod wording;

pub use attempt::{Attempt, LeftOverProcess, TestResult};
pub use budget::{BudgetResult, BudgetVerdict};
pub(crate) use build::nanoseconds;
pub use file::{
    AttemptResults, EndResults, FILE, FORMAT_VERSION, Results, ResultsError, TestResults,
};
pub use group::GroupUse;
pub use leak::LeakResult;
pub use memory::{BoundedBytes, Memory, RoleMemory};
pub use origin::Origin;
pub use outcome::{Abort, AbortCause, Outcome, SuiteOutcome, Verdict};
pub use repeated::{Repeated, Spread};
pub use step::StepResult;
pub use whole::of_test;
