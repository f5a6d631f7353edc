//! The bounds on the memory of a test.

use serde::{Deserialize, Serialize};

/// A bound on memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Of which processes of the test; `None`: the sum over all.
    pub role: Option<String>,
    /// What is bounded.
    pub quantity: Quantity,
    /// The bound: bytes, or bytes a minute for [`Quantity::Growth`].
    pub limit_bytes: u64,
    /// What happens above it.
    pub action: Action,
}

/// What a budget bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The peak of the sum of resident sets.
    RssPeak,
    /// The peak of the sum of proportional sets.
    PssPeak,
    /// The peak of the sum of anonymous memory.
    AnonPeak,
    /// Growth of anonymous memory, in bytes a minute.
    Growth,
    /// Memory of processes that are left after the test.
    LeftOver,
    /// The most memory of its control group, of whatever kind.
    GroupPeak,
    /// The most shared memory of its control group, mapped or not.
    ShmemPeak,
}

impl Quantity {
    /// Returns whether its control group tells it, and not its processes.
    #[must_use]
    pub fn is_of_group(self) -> bool {
        matches!(self, Self::GroupPeak | Self::ShmemPeak)
    }
}

/// That memory must not leak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakRule {
    /// Of which processes of the test; `None`: each role, and all together.
    pub role: Option<String>,
    /// What happens where it does.
    pub action: Action,
}

/// What happens above a budget, or where memory leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The report says so.
    Warn,
    /// The test is `over_budget`, or `leaked`.
    Fail,
}
