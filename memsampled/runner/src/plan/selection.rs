//! Which tests of a suite are run.

use std::collections::HashMap;

use regex::Regex;

use crate::suite::Test;

/// Which tests of a suite are run. A test must satisfy all parts.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Its name matches.
    pub filter: Option<Regex>,
    /// It has one of these tags; none: any test.
    pub tags: Vec<String>,
    /// It is in this part.
    pub shard: Option<Shard>,
}

/// One of several parts of a suite. Tests that require each other are in the same part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 1.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
}

impl Selection {
    /// Returns the positions of the selected tests, in the order of the suite.
    #[must_use]
    pub fn of(&self, tests: &[Test]) -> Vec<usize> {
        let is_selected = |test: &Test| {
            self.filter.as_ref().is_none_or(|filter| filter.is_match(&test.name))
                && (self.tags.is_empty() || test.tags.iter().any(|tag| self.tags.contains(tag)))
        };
        let selected = tests.iter().enumerate().filter(|(_, test)| is_selected(test));
        let selected: Vec<usize> = selected.map(|(index, _)| index).collect();
        match self.shard {
            None => selected,
            Some(shard) => in_shard(shard, tests, &selected),
        }
    }
}

/// Deals the groups of tests that require each other out to the shards in turn.
fn in_shard(shard: Shard, tests: &[Test], selected: &[usize]) -> Vec<usize> {
    let by_name: HashMap<&str, usize> = selected
        .iter()
        .filter_map(|&index| Some((tests.get(index)?.name.as_str(), index)))
        .collect();
    // The first test of its group, for each test; groups are joined as requirements show.
    let mut leaders: HashMap<usize, usize> = selected.iter().map(|&index| (index, index)).collect();
    fn leader_of(leaders: &HashMap<usize, usize>, mut index: usize) -> usize {
        while let Some(&next) = leaders.get(&index)
            && next != index
        {
            index = next;
        }
        index
    }
    for &index in selected {
        let required = tests.get(index).map_or(&[][..], |test| &test.requires);
        for other in required.iter().filter_map(|name| by_name.get(name.as_str())) {
            let (a, b) = (leader_of(&leaders, index), leader_of(&leaders, *other));
            leaders.insert(a.max(b), a.min(b));
        }
    }
    let mut shards: HashMap<usize, u32> = HashMap::new();
    let mut next = 0;
    let mut kept = Vec::new();
    for &index in selected {
        let of = *shards.entry(leader_of(&leaders, index)).or_insert_with(|| {
            next += 1;
            (next - 1) % shard.count.max(1) + 1
        });
        if of == shard.index {
            kept.push(index);
        }
    }
    kept
}
