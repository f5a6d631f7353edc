//! The pages: tables and pictures that need no script. With one, curves move and names are found while one types.

mod chart;
mod compare;
mod fleet;
mod frame;
mod lists;
mod live;
mod run;
mod search;
mod test;
mod worse;

pub(crate) use compare::compare;
pub(crate) use fleet::fleet;
pub(crate) use frame::{Frame, problem};
pub(crate) use lists::{hosts, releases, runs, suite, suites, verdict};
pub(crate) use live::live;
pub(crate) use run::run;
pub(crate) use search::search;
pub(crate) use test::test;
pub(crate) use worse::worse;

/// What the pages look like.
pub(crate) const STYLE: &str = concat!(include_str!("style.css"), include_str!("script.css"));
/// What makes pages quicker to use: nothing needs it. Made of `memsampled/serve/script`.
pub(crate) const SCRIPT: &str = include_str!("script.js");
/// Rows of a page.
pub(crate) const ROWS: u32 = 100;
