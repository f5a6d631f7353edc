//! The pages: tables and pictures that need no script.

mod chart;
mod compare;
mod frame;
mod lists;
mod run;
mod search;
mod test;

pub(crate) use compare::compare;
pub(crate) use frame::{Frame, problem};
pub(crate) use lists::{hosts, releases, runs, suite, suites};
pub(crate) use run::run;
pub(crate) use search::search;
pub(crate) use test::test;

/// What the pages look like.
pub(crate) const STYLE: &str = include_str!("style.css");
/// Rows of a page.
pub(crate) const ROWS: u32 = 100;
