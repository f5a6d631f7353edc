//! What is compared of a test.

use std::fmt;
use std::str::FromStr;

use memsample_runner::results::{BoundedBytes, Memory};
use serde::{Deserialize, Serialize};

/// What is compared of a test: the largest sum over its processes at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The peak of resident sets, by its lower bound.
    Peak,
    /// The peak of proportional sets.
    PssPeak,
    /// The peak of anonymous memory, by its lower bound.
    AnonPeak,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Peak, Self::PssPeak, Self::AnonPeak];

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Peak => "peak",
            Self::PssPeak => "pss_peak",
            Self::AnonPeak => "anon_peak",
        }
    }

    /// Returns it of an attempt; `None` where it was not measured.
    pub(crate) fn of(self, memory: &Memory) -> Option<BoundedBytes> {
        match self {
            Self::Peak => memory.rss_peak(),
            Self::PssPeak => memory.pss_peak(),
            Self::AnonPeak => memory.anon_peak(),
        }
    }

    /// Returns whether it is from the counters of the kernel, which may lag behind; PSS is from page tables.
    pub(crate) fn is_counted(self) -> bool {
        self != Self::PssPeak
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "peak" | "rss_peak" => Ok(Self::Peak),
            "pss_peak" => Ok(Self::PssPeak),
            "anon_peak" => Ok(Self::AnonPeak),
            _ => Err(format!("`{text}` is no quantity: there are peak, pss_peak and anon_peak")),
        }
    }
}
