//! Processes that share one memory map, as after `vfork` and `clone(CLONE_VM)`: each of them shows all memory of all of
//! them, which counts once in a sum.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};

use crate::columns::{known, numbers};
use crate::recording::Recording;

/// The images that share a memory map with another one.
#[derive(Default)]
pub struct SharedMaps {
    /// The map of each of them, by the image that had it first.
    map_of: HashMap<u64, u64>,
    /// Those that were sampled, by their maps.
    sharers: HashMap<u64, Vec<Sharer>>,
}

/// An image, and the ticks of its first and last sample.
struct Sharer {
    image: u64,
    first_ms: i64,
    last_ms: i64,
}

impl SharedMaps {
    /// Reads them from the column `memory_map` of `processes`. A recording without that column has none that are known.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub fn read(recording: &Recording) -> io::Result<Self> {
        let mut map_of: HashMap<u64, u64> = HashMap::new();
        for batch in recording.read_table("processes", &["process", "memory_map"]) {
            let batch = batch?;
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let Ok(memory_map) = numbers::<Int64Type>(&batch, "memory_map") else {
                return Ok(Self::default());
            };
            for (row, process) in process.iter().enumerate() {
                let process = process.unsigned_abs();
                if let Some(map) = known(memory_map, row).filter(|&map| map != process) {
                    map_of.insert(process, map);
                }
            }
        }
        if map_of.is_empty() {
            return Ok(Self::default());
        }
        resolve(&mut map_of);
        let first: Vec<u64> = map_of.values().copied().collect();
        map_of.extend(first.into_iter().map(|image| (image, image)));
        let mut shared = Self { map_of, sharers: HashMap::new() };
        shared.read_sharers(recording)?;
        Ok(shared)
    }

    fn read_sharers(&mut self, recording: &Recording) -> io::Result<()> {
        let columns = ["process", "samples", "first_ts", "last_ts"];
        for batch in recording.read_table("processes", &columns) {
            let batch = batch?;
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let samples = numbers::<Int64Type>(&batch, "samples")?.values();
            let first = numbers::<Millisecond>(&batch, "first_ts")?.values();
            let last = numbers::<Millisecond>(&batch, "last_ts")?.values();
            let spans = process.iter().zip(samples).zip(first.iter().zip(last));
            for ((process, &samples), (&first_ms, &last_ms)) in spans {
                let image = process.unsigned_abs();
                if let Some(&map) = self.map_of.get(&image)
                    && samples > 0
                {
                    let sharer = Sharer { image, first_ms, last_ms };
                    self.sharers.entry(map).or_default().push(sharer);
                }
            }
        }
        for sharers in self.sharers.values_mut() {
            sharers.sort_unstable_by_key(|sharer| (sharer.first_ms, sharer.image));
        }
        Ok(())
    }

    /// Returns the map of an image, by a number of its own, where several images have it.
    pub(super) fn map_of(&self, image: u64) -> Option<u64> {
        self.map_of.get(&image).copied()
    }

    /// Returns which samples are in a sum already, by another image that has the same map. `sums_of` has the sums that an
    /// image is in, by its key in `processes`.
    pub fn counted_once<'a, K>(&self, sums_of: impl Fn(u64) -> &'a [K]) -> CountedOnce<K>
    where
        K: Copy + Eq + Hash + 'a,
    {
        let mut counted = HashMap::new();
        for sharers in self.sharers.values() {
            let mut last_ms_of: HashMap<K, i64> = HashMap::new();
            for &Sharer { image, first_ms, last_ms } in sharers {
                for &sum in sums_of(image) {
                    let until_ms = last_ms_of.entry(sum).or_insert(i64::MIN);
                    if *until_ms >= first_ms {
                        counted.insert((sum, image), *until_ms);
                    }
                    *until_ms = last_ms.max(*until_ms);
                }
            }
        }
        CountedOnce(counted)
    }
}

/// Up to which tick another image counts for one in a sum, since the two share a memory map: in milliseconds since 1970.
#[derive(Debug)]
pub struct CountedOnce<K>(HashMap<(K, u64), i64>);

impl<K> Default for CountedOnce<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> CountedOnce<K> {
    /// Returns whether a sample of an image is to be left out of a sum.
    #[must_use]
    pub fn leaves_out(&self, sum: K, image: u64, ts_ms: i64) -> bool {
        // Most recordings have none.
        !self.0.is_empty() && self.0.get(&(sum, image)).is_some_and(|&until_ms| ts_ms <= until_ms)
    }
}

/// Replaces the map of each image by the one at the end of its chain.
fn resolve(map_of: &mut HashMap<u64, u64>) {
    let images: Vec<u64> = map_of.keys().copied().collect();
    let mut resolved = HashSet::new();
    for image in images {
        let (mut chain, mut at) = (Vec::new(), image);
        // A damaged table may have a circle: it ends where it comes back to.
        while let Some(&next) = map_of.get(&at)
            && resolved.insert(at)
        {
            chain.push(at);
            at = next;
        }
        let end = match map_of.get(&at) {
            Some(&end) if !chain.contains(&at) => end,
            _ => at,
        };
        chain.into_iter().for_each(|image| _ = map_of.insert(image, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(sharers: &[(u64, i64, i64)]) -> SharedMaps {
        let sharer = |&(image, first_ms, last_ms)| Sharer { image, first_ms, last_ms };
        SharedMaps {
            map_of: sharers.iter().map(|&(image, ..)| (image, 1)).collect(),
            sharers: HashMap::from([(1, sharers.iter().map(sharer).collect())]),
        }
    }

    #[test]
    fn memory_counts_by_another_image_of_the_same_sum_as_long_as_that_lives() {
        let maps = shared(&[(1, 0, 100), (2, 50, 90), (3, 60, 150), (4, 120, 200), (5, 201, 300)]);
        let all = maps.counted_once(|_| &["a"]);
        let expected = [(("a", 2), 100), (("a", 3), 100), (("a", 4), 150)];
        assert_eq!(all.0, HashMap::from(expected));
        // The first one is of another sum.
        let others = maps.counted_once(|image| if image == 1 { &["b"] } else { &["a"] });
        assert_eq!(others.0, HashMap::from([(("a", 3), 90), (("a", 4), 150)]));
    }

    #[test]
    fn a_chain_ends_at_its_first_image_and_a_circle_too() {
        let resolved = |maps: &[(u64, u64)]| {
            let mut map_of: HashMap<u64, u64> = maps.iter().copied().collect();
            resolve(&mut map_of);
            let mut maps: Vec<u64> = map_of.into_values().collect();
            maps.dedup();
            maps
        };
        assert_eq!(resolved(&[(4, 3), (3, 2), (2, 1), (5, 2)]), [1]);
        let circle = resolved(&[(4, 2), (2, 3), (3, 2)]);
        assert!(matches!(circle[..], [2 | 3]), "{circle:?}");
        let long: Vec<(u64, u64)> = (1..100_000).map(|image| (image, image - 1)).collect();
        assert_eq!(resolved(&long), [0]);
    }
}
