//! Which tests of a suite are run.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use memsample_input::quoted;
use regex::Regex;

use super::keywords::Keywords;
use crate::suite::{Test, meant};

/// Which tests of a suite are run. A test must satisfy all parts.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Its name is one of these; none: any test.
    pub names: Vec<String>,
    /// Its name matches this expression.
    pub keywords: Option<Keywords>,
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
    /// Checks that each name, and each tag, is that of a test.
    ///
    /// # Errors
    ///
    /// One is not; the error says which is near to it.
    pub fn check(&self, tests: &[Test]) -> Result<(), NoSuchTest> {
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let tags: BTreeSet<&str> =
            tests.iter().flat_map(|test| &test.tags).map(String::as_str).collect();
        let tags: Vec<&str> = tags.into_iter().collect();
        no_such("is called", &self.names, &names)?;
        no_such("has the tag", &self.tags, &tags)
    }

    /// Describes why a test is not selected, leaving aside that it may be in another part; `None` where it is.
    pub(crate) fn why_not(&self, test: &Test) -> Option<String> {
        let reason = if !self.names.is_empty() && !self.names.contains(&test.name) {
            "is not named"
        } else if self.keywords.as_ref().is_some_and(|it| !it.matches(&test.name)) {
            "does not match -k"
        } else if self.filter.as_ref().is_some_and(|it| !it.is_match(&test.name)) {
            "does not match --filter"
        } else if !self.tags.is_empty() && !test.tags.iter().any(|tag| self.tags.contains(tag)) {
            "has none of the tags (--tag)"
        } else {
            return None;
        };
        Some(reason.to_owned())
    }

    /// Returns the positions of the selected tests, in the order of the suite.
    #[must_use]
    pub fn of(&self, tests: &[Test]) -> Vec<usize> {
        let selected = tests.iter().enumerate().filter(|(_, test)| self.why_not(test).is_none());
        let selected: Vec<usize> = selected.map(|(index, _)| index).collect();
        match self.shard {
            None => selected,
            Some(shard) => in_shard(shard, tests, &selected),
        }
    }
}

/// Names that are listed where none is near.
const MAX_LISTED: usize = 10;

fn no_such(what: &'static str, given: &[String], known: &[&str]) -> Result<(), NoSuchTest> {
    let known_set: HashSet<&str> = known.iter().copied().collect();
    let Some(given) = given.iter().find(|given| !known_set.contains(given.as_str())) else {
        return Ok(());
    };
    let contains = || known.iter().copied().find(|known| known.contains(given.as_str()));
    Err(NoSuchTest {
        what,
        given: given.clone(),
        meant: meant(given, known.iter().copied()).or_else(contains).map(str::to_owned),
        known: known.iter().take(MAX_LISTED).map(|&name| name.to_owned()).collect(),
        count: known.len(),
    })
}

/// A name or a tag was given that no test of the suite has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchTest {
    /// What it is: `is called`, `has the tag`.
    what: &'static str,
    given: String,
    meant: Option<String>,
    /// What there is instead, the first of it.
    known: Vec<String>,
    /// How many there are.
    count: usize,
}

impl fmt::Display for NoSuchTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no test {} {}", self.what, quoted(&self.given))?;
        let known: Vec<String> = self.known.iter().map(|name| quoted(name)).collect();
        match (&self.meant, known.as_slice()) {
            (Some(meant), _) => write!(f, ": did you mean {}?", quoted(meant)),
            (None, []) => Ok(()),
            (None, known) => {
                let more = if self.count > known.len() { ", …" } else { "" };
                write!(f, ": there are {}{more}", known.join(", "))
            }
        }
    }
}

impl std::error::Error for NoSuchTest {}

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
