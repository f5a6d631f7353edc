//! Which attempts of which tests are run, and in which order.

mod order;
mod selection;

pub(crate) use order::{NextItem, Plan};
pub use selection::{Selection, Shard};
