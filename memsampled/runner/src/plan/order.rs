//! The order in which tests are run: what each waits for, and what is tried again.

use std::collections::HashMap;

use super::selection::Selection;
use crate::results::{Attempt, Outcome, TestResult};
use crate::suite::{Suite, Test};

/// What is still to be run, in the order of the suite.
pub(crate) struct RunPlan<'a> {
    items: Vec<PlanItem<'a>>,
    by_name: HashMap<&'a str, Vec<usize>>,
    /// Nothing before it waits.
    first_waiting: usize,
}

/// One repetition of a test.
#[derive(Clone, Debug)]
pub(crate) struct PlanItem<'a> {
    /// The position of the test in the suite.
    pub(crate) index: usize,
    pub(crate) test: &'a Test,
    repetition: u32,
    /// Of the attempt that is next or runs now.
    attempt: u32,
    retries: u32,
    state: ItemState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemState {
    Waiting,
    Running,
    Done { passed: bool },
}

/// What comes next.
pub(crate) enum NextItem {
    /// This item can be run.
    Run(usize),
    /// This one never can, and why.
    Skip(usize, String),
    /// Something must end before.
    Wait,
    /// Nothing waits any more.
    Nothing,
}

impl<'a> RunPlan<'a> {
    /// Plans the selected tests, without those that have ended.
    /// `repeats` says how often each is run, and `retries` how often again if it fails.
    pub(crate) fn new<'b>(
        suite: &'a Suite,
        selection: &Selection,
        repeats: impl Fn(&Test) -> u32,
        retries: impl Fn(&Test) -> u32,
        ended: impl IntoIterator<Item = &'b TestResult>,
    ) -> Self {
        let mut plan = Self { items: Vec::new(), by_name: HashMap::new(), first_waiting: 0 };
        for index in selection.of(&suite.tests) {
            let Some(test) = suite.tests.get(index) else { continue };
            for repetition in 1..=repeats(test).max(1) {
                plan.by_name.entry(&test.name).or_default().push(plan.items.len());
                plan.items.push(PlanItem {
                    index,
                    test,
                    repetition,
                    attempt: 1,
                    retries: retries(test),
                    state: ItemState::Waiting,
                });
            }
        }
        for result in ended {
            let items = plan.by_name.get(result.test.test.as_str()).into_iter().flatten().copied();
            for item in items.collect::<Vec<_>>() {
                let is_it = |item: &PlanItem<'_>| {
                    item.repetition == result.test.repetition && item.attempt == result.test.attempt
                };
                if plan.items.get(item).is_some_and(is_it) {
                    plan.ended(item, &result.outcome);
                }
            }
        }
        plan
    }

    /// Returns how many attempts there are, retries not included.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn item(&self, item: usize) -> Option<&PlanItem<'a>> {
        self.items.get(item)
    }

    /// Returns what comes next.
    pub(crate) fn next(&mut self) -> NextItem {
        let is_waiting = |item: &PlanItem<'_>| item.state == ItemState::Waiting;
        while self.items.get(self.first_waiting).is_some_and(|item| !is_waiting(item)) {
            self.first_waiting += 1;
        }
        let mut next = NextItem::Nothing;
        for (position, item) in self.items.iter().enumerate().skip(self.first_waiting) {
            if !is_waiting(item) {
                continue;
            }
            match self.readiness(item) {
                Ok(true) => return NextItem::Run(position),
                Ok(false) => next = NextItem::Wait,
                Err(reason) => return NextItem::Skip(position, reason),
            }
        }
        next
    }

    /// Returns whether an item can be run now, or why it never can.
    fn readiness(&self, item: &PlanItem<'_>) -> Result<bool, String> {
        let of = |name: &str| {
            let items = self.by_name.get(name).into_iter().flatten();
            items.filter_map(|&item| self.items.get(item))
        };
        // A test may conflict with another instance of itself.
        let mut is_ready = of(&item.test.name).all(|other| other.state != ItemState::Running);
        for name in &item.test.requires {
            if !self.by_name.contains_key(name.as_str()) {
                return Err(format!("it requires `{name}`, which was not selected"));
            }
            for other in of(name) {
                match other.state {
                    ItemState::Done { passed: true } => {}
                    ItemState::Done { passed: false } => {
                        return Err(format!("it requires `{name}`, which did not pass"));
                    }
                    ItemState::Waiting | ItemState::Running => is_ready = false,
                }
            }
        }
        Ok(is_ready)
    }

    /// Notes that an item runs.
    pub(crate) fn begun(&mut self, item: usize) {
        if let Some(item) = self.items.get_mut(item) {
            item.state = ItemState::Running;
        }
    }

    /// Runs an item no more that has been tried before; says whether it has.
    pub(crate) fn give_up(&mut self, item: usize) -> bool {
        let Some(item) = self.items.get_mut(item).filter(|item| item.attempt > 1) else {
            return false;
        };
        item.state = ItemState::Done { passed: false };
        true
    }

    /// Notes that an attempt of an item has ended; says whether that was its last.
    pub(crate) fn ended(&mut self, item: usize, outcome: &Outcome) -> bool {
        let Some(item) = self.items.get_mut(item) else { return true };
        let is_final = outcome.is_success()
            || item.attempt > item.retries
            || matches!(outcome, Outcome::Aborted);
        if is_final {
            // A skipped test does not satisfy those that require it.
            let passed = matches!(outcome, Outcome::Passed | Outcome::Flaky);
            item.state = ItemState::Done { passed };
        } else {
            item.attempt += 1;
            item.state = ItemState::Waiting;
            self.first_waiting = 0;
        }
        is_final
    }
}

impl PlanItem<'_> {
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt { test: self.test.name.clone(), repetition: self.repetition, attempt: self.attempt }
    }
}
