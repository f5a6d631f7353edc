//! Which attempts of which tests are run, and in which order.

mod keywords;
mod order;
mod selection;

pub use keywords::{Keywords, KeywordsError};
pub(crate) use order::{NextItem, RunPlan};
pub use selection::{NoSuchTest, Selection, Shard};
