//! Which attempts of which tests are run, and in which order.

mod order;
mod selection;

pub(crate) use order::{NextItem, RunPlan};
pub use selection::{Selection, Shard};
