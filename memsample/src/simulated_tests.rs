//! What is said of a test, from what a simulated kernel did to what the recording of it is told to mean: the truth is never
//! outside of the bounds, so that no budget is kept or exceeded for certain that was not.

use proptest::prelude::*;

use crate::analysis::test_usages;
use crate::recorder::{Step, simulate, steps};

/// Checks the bounds, and returns whether there is an upper one.
fn check(steps: &[Step]) -> Result<bool, TestCaseError> {
    let simulation = simulate(steps);
    let usages = test_usages(&simulation.recording).unwrap();
    let [usage] = &*usages else {
        return Err(TestCaseError::fail(format!("{usages:?}")));
    };
    let rss = usage.rss.unwrap();
    prop_assert!(rss.lower.bytes <= simulation.most_bytes, "exceeded: {usage:?}");
    if let Some(upper) = rss.upper {
        prop_assert!(upper.bytes >= simulation.least_bytes, "kept: {usage:?}");
        prop_assert!(upper.bytes >= rss.lower.bytes);
    }
    Ok(rss.upper.is_some())
}

/// Each case writes a recording, which takes 100 ms where a disk must have it; `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(24))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_truth_is_within_the_bounds_whatever_happens(steps in steps(false)) {
        check(&steps)?;
    }

    #[test]
    fn the_truth_is_within_the_bounds_whatever_is_lost(steps in steps(true)) {
        check(&steps)?;
    }
}

#[test]
fn where_all_is_known_there_is_an_upper_bound() {
    let steps = [
        Step::Fork(1, false),
        Step::Exec(2, 30),
        Step::Tick,
        Step::Resize(2, 200),
        Step::Resize(2, 20),
        Step::Tick,
        Step::Exit(2, Some(0)),
        Step::Tick,
    ];
    assert!(check(&steps).unwrap());
}

/// The start of a child that is sampled is rounded down, and that of a parent which no tick saw is not.
#[test]
fn a_parent_that_seems_to_have_begun_after_its_child_is_its_parent() {
    let steps = [
        Step::Fork(1, false),
        Step::Fork(2, false),
        Step::Resize(3, 250),
        Step::Exit(2, Some(0)),
        Step::Exec(2, 30),
    ];
    check(&steps).unwrap();
}

/// What a child shared with its parent becomes its own when another process writes to it that has the map of the parent,
/// whose page faults that has not.
#[test]
fn who_shares_the_map_of_a_parent_may_leave_all_to_a_child() {
    let steps = [
        Step::Spawn(1, false),
        Step::Tick,
        Step::Resize(1, 200),
        Step::Tick,
        Step::Tick,
        Step::Fork(1, false),
        Step::Tick,
        Step::Write(2),
        Step::Tick,
        Step::Exec(3, 1),
        Step::Tick,
    ];
    check(&steps).unwrap();
}
