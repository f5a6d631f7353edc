//! What a test used in all its repetitions: how many there were, the median and the range.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::Memory;

/// What a test used in its repetitions. Of each repetition the last attempt counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeated {
    /// The number of repetitions.
    pub repetitions: u64,
    /// Peaks of resident sets, in bytes: lower bounds.
    pub rss_peak_bytes: Option<Spread>,
    /// Peaks of proportional sets, in bytes.
    pub pss_peak_bytes: Option<Spread>,
    /// Peaks of anonymous memory, in bytes: lower bounds.
    pub anon_peak_bytes: Option<Spread>,
    /// Times, in nanoseconds.
    pub duration_ns: Option<Spread>,
}

/// The numbers of those repetitions in which something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// In how many it was.
    pub count: u64,
    /// The median; of an even number the lower one of the two in the middle.
    pub median: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Repeated {
    /// Returns what the attempts of a test used; `None` where there is a single repetition. `attempts` are the repetition
    /// of each, in order, what it used and how many nanoseconds it took.
    pub(super) fn of<'a>(
        attempts: impl Iterator<Item = (u32, Option<&'a Memory>, Option<u64>)>,
    ) -> Option<Self> {
        let last: BTreeMap<u32, _> =
            attempts.map(|(repetition, memory, ns)| (repetition, (memory, ns))).collect();
        let spread = |of: fn(&Memory) -> Option<u64>| {
            Spread::of(last.values().filter_map(|(memory, _)| of((*memory)?)).collect())
        };
        (last.len() > 1).then(|| Self {
            repetitions: last.len() as u64,
            rss_peak_bytes: spread(|memory| memory.rss_peak_bytes),
            pss_peak_bytes: spread(|memory| memory.pss_peak_bytes),
            anon_peak_bytes: spread(|memory| memory.anon_peak_bytes),
            duration_ns: Spread::of(last.values().filter_map(|(_, ns)| *ns).collect()),
        })
    }
}

impl Spread {
    /// Returns that of some numbers; `None` where there is none.
    #[must_use]
    pub fn of(mut numbers: Vec<u64>) -> Option<Self> {
        numbers.sort_unstable();
        Some(Self {
            count: numbers.len() as u64,
            median: *numbers.get(numbers.len().checked_sub(1)? / 2)?,
            min: *numbers.first()?,
            max: *numbers.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_what_was_measured() {
        let of = |numbers: &[u64]| Spread::of(numbers.to_vec());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Spread { count: 1, median: 7, min: 7, max: 7 }));
        assert_eq!(of(&[9, 1, 5]), Some(Spread { count: 3, median: 5, min: 1, max: 9 }));
        assert_eq!(of(&[9, 1, 5, 3]), Some(Spread { count: 4, median: 3, min: 1, max: 9 }));
    }

    #[test]
    fn the_last_attempt_of_each_repetition_counts() {
        let memory = |bytes| Memory { rss_peak_bytes: Some(bytes), ..Memory::default() };
        let (first, retried, second) = (memory(5), memory(9), memory(7));
        assert_eq!(Repeated::of([(1, Some(&first), Some(1))].into_iter()), None);
        let attempts = [
            (1, Some(&first), Some(1)),
            (1, Some(&retried), Some(2)),
            (2, Some(&second), None),
            (3, None, None),
        ];
        let repeated = Repeated::of(attempts.into_iter()).unwrap();
        assert_eq!(repeated.repetitions, 3);
        assert_eq!(repeated.rss_peak_bytes, Some(Spread { count: 2, median: 7, min: 7, max: 9 }));
        assert_eq!(repeated.pss_peak_bytes, None);
        assert_eq!(repeated.duration_ns, Some(Spread { count: 1, median: 2, min: 2, max: 2 }));
    }
}
