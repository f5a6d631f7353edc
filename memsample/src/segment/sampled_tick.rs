//! A tick that has samples.

use crate::metric::Files;

/// A tick that has samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampledTick {
    pub(crate) ts_ms: i64,
    /// What was read of every process whose series does not say otherwise.
    pub(crate) files: Files,
}
