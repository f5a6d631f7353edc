//! What became of the budgets of an attempt.

use serde::{Deserialize, Serialize};

use super::memory::BoundedBytes;
use crate::suite::Budget;

/// What became of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetResult {
    /// The budget.
    #[serde(flatten)]
    pub budget: Budget,
    /// What was measured, in the unit of the budget; `None` where nothing was.
    pub measured_bytes: Option<u64>,
    /// Upper bound of [`measured_bytes`](Self::measured_bytes); `None` where nothing bounds it.
    pub measured_bytes_upper: Option<u64>,
    /// What that means.
    pub verdict: BudgetVerdict,
}

/// Whether a budget was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetVerdict {
    /// The upper bound is not above it.
    Kept,
    /// The lower bound is above it.
    Exceeded,
    /// The bounds straddle it, or there is no measurement.
    CannotTell,
}

impl BudgetResult {
    /// Returns what was measured.
    #[must_use]
    pub fn measured(&self) -> Option<BoundedBytes> {
        BoundedBytes::of(self.measured_bytes, self.measured_bytes_upper)
    }
}
