//! What rows are encoded for, and how much they are compressed then.

use parquet::basic::ZstdLevel;

/// How to encode rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be kept: as small as they become at a cost that is not noticed.
    Settled,
    /// To be looked at until the next checkpoint, where there are many rows: compressed less, which is cheaper.
    Tail,
    /// The same where there are few rows: not compressed, since to set up a compressor costs more than all else.
    SmallTail,
}

impl Purpose {
    /// Returns how much pages are compressed; `None` where they stay as they are.
    pub(super) fn level(self) -> Option<ZstdLevel> {
        let level = match self {
            Self::Settled => 6,
            Self::Tail => 3,
            Self::SmallTail => return None,
        };
        Some(ZstdLevel::try_new(level).unwrap_or_default())
    }
}
