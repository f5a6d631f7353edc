//! Sizes in a third of their space: a minute of a large machine is kept.

/// A number of bytes in whole kibibytes, in which the kernel counts; or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(u32);

impl Amount {
    /// What is not known.
    pub const UNKNOWN: Self = Self(u32::MAX);

    /// Rounds down to kibibytes; 4 TiB stand for all that is larger.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self(u32::try_from(bytes >> 10).unwrap_or(u32::MAX - 1).min(u32::MAX - 1))
    }

    /// Returns the bytes; `None` where they are not known.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        (self != Self::UNKNOWN).then(|| u64::from(self.0) << 10)
    }
}

impl From<Option<u64>> for Amount {
    fn from(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::UNKNOWN, Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_whole_kibibytes() {
        assert_eq!(Amount::of(4096).bytes(), Some(4096));
        assert_eq!(Amount::of(u64::MAX).bytes(), Some(u64::from(u32::MAX - 1) << 10));
        assert_eq!(Amount::from(None).bytes(), None);
    }
}
