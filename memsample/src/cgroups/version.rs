//! The two versions of control groups.

use serde::{Deserialize, Serialize};

/// The version of a hierarchy, which decides which files its groups have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_enums,
    reason = "who writes into groups must know what each version has"
)]
pub enum Version {
    /// Version 1: a hierarchy for each controller, or for a few.
    V1,
    /// Version 2: one hierarchy for all controllers.
    V2,
}
