//! How a test as a whole ended, from all its attempts.

use std::collections::BTreeMap;

use super::attempt::TestResult;
use super::outcome::{Outcome, Verdict};

/// Returns how a test as a whole ended, from all its attempts: the worst of its repetitions, of which
/// each is its last attempt, or `flaky` where that passed after another had not.
///
/// `None` where there is no attempt.
#[must_use]
pub fn of_test<'a>(attempts: impl IntoIterator<Item = &'a TestResult>) -> Option<Outcome> {
    let attempts = attempts.into_iter();
    let attempts = attempts.map(|it| (it.test.repetition, it.test.attempt, it.outcome.clone()));
    whole(attempts, Outcome::verdict, Outcome::Flaky)
}

/// The same for whatever names an outcome: `attempts` are repetition, attempt and outcome.
pub(super) fn whole<O: Clone>(
    attempts: impl Iterator<Item = (u32, u32, O)>,
    verdict: impl Fn(&O) -> Verdict,
    flaky: O,
) -> Option<O> {
    let mut repetitions: BTreeMap<u32, (u32, O, bool)> = BTreeMap::new();
    for (repetition, attempt, outcome) in attempts {
        let entry = repetitions.entry(repetition).or_insert((0, outcome.clone(), false));
        entry.2 |= !verdict(&outcome).is_success();
        if attempt > entry.0 {
            (entry.0, entry.1) = (attempt, outcome);
        }
    }
    let of_repetition = |(_, outcome, failed_once)| match verdict(&outcome) {
        Verdict::Passed if failed_once => flaky.clone(),
        _ => outcome,
    };
    let outcomes = repetitions.into_values().map(of_repetition);
    let rank = |outcome: &O| verdict(outcome).rank();
    // Of the worst, the first.
    outcomes.reduce(|worst, next| if rank(&next) > rank(&worst) { next } else { worst })
}
