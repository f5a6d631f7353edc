//! Runs the tests of a suite, each in its own boundary, and tells what happens as [`Event`]s.
//!
//! It never prints: what a person or a machine reads is made of the events by others.

mod event;

pub use event::{
    Abort, Attempt, BoundedBytes, BudgetResult, BudgetVerdict, Event, Outcome, RoleMemory, Sum,
    Survivor, TestMemory, TestResult,
};
