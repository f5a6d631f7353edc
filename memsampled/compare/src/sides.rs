//! The numbers of each test, from the results of the runs of one side.

use std::collections::BTreeMap;

use memsample_runner::results::{BoundedBytes, Memory, Results};

use crate::quantity::Quantity;

/// A run, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its directory or file, for people.
    pub name: String,
    /// Its results.
    pub results: Results,
}

/// What is compared: a quantity of a test, or of one of its roles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) suite: String,
    pub(crate) test: String,
    /// `None` of the test as a whole.
    pub(crate) role: Option<String>,
    pub(crate) quantity: Quantity,
}

/// A number of one repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// What was measured, within its bounds.
    pub bytes: BoundedBytes,
    /// Whether all tests were run, and not those that had been suspect.
    pub is_first: bool,
    /// The run that it is of, by its position among those of its side.
    pub run: usize,
    /// Which repetition of that run it is, from 1.
    pub repetition: u32,
    /// Which attempt of the repetition, from 1.
    pub attempt: u32,
}

/// The numbers of one quantity of a test, and the repeats that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    /// In the order in which they were measured.
    pub(crate) numbers: Vec<Number>,
    /// Repeats that did not come to their end.
    pub(crate) failed: u64,
    /// Repeats in which it was not measured, or was zero.
    pub(crate) not_measured: u64,
}

impl Numbers {
    /// Counts the repeats.
    pub(crate) fn repeats(&self) -> u64 {
        self.numbers.len() as u64 + self.failed + self.not_measured
    }
}

/// Returns what the runs say of every test, by what is compared.
pub(crate) fn numbers(
    runs: &[Run],
    quantities: &[Quantity],
    with_roles: bool,
) -> BTreeMap<Key, Numbers> {
    let mut ordered: Vec<(usize, &Run)> = runs.iter().enumerate().collect();
    ordered.sort_by_key(|(_, run)| (run.results.origin.only_suspects, run.results.started));
    let mut numbers: BTreeMap<Key, Numbers> = BTreeMap::new();
    for (index, run) in ordered {
        let is_first = !run.results.origin.only_suspects;
        for test in &run.results.tests {
            let key = |role: Option<&str>, quantity| Key {
                suite: run.results.suite.clone(),
                test: test.name.clone(),
                role: role.map(str::to_owned),
                quantity,
            };
            for attempt in test.last_attempts() {
                let came_to_its_end = attempt.ended.came_to_its_end();
                let mut add = |key: Key, bytes: Option<BoundedBytes>| {
                    let of = numbers.entry(key).or_default();
                    match bytes.filter(|bytes| bytes.lower > 0) {
                        _ if !came_to_its_end => of.failed += 1,
                        None => of.not_measured += 1,
                        Some(bytes) => of.numbers.push(Number {
                            bytes,
                            is_first,
                            run: index,
                            repetition: attempt.repetition,
                            attempt: attempt.attempt,
                        }),
                    }
                };
                let memory: Option<&Memory> = attempt.ended.memory.as_ref();
                for &quantity in quantities {
                    add(key(None, quantity), memory.and_then(|memory| quantity.of(memory)));
                }
                let roles = attempt.ended.roles.iter().filter(|_| with_roles && came_to_its_end);
                for role in roles {
                    add(key(Some(&role.role), Quantity::Peak), Some(role.rss_peak()));
                }
            }
        }
    }
    numbers
}
