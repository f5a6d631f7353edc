//! The statistics of a comparison: pure functions over slices, which know nothing of tests or bytes.
//!
//! Every slice holds one number for each repeat, in any order. All numbers are finite.

mod change_points;
mod moderated;
mod rank;
mod repeats;
mod shift;

pub use change_points::{ChangePoint, change_points};
pub use moderated::{Pooled, Prior, Tails, moderated_t};
pub use rank::{RankTests, RankTestsResult};
pub use repeats::{changes_found, quantile_of_level, repeats_to_tell};
pub use shift::{Shift, median};
