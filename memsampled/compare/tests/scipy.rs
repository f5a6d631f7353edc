//! Our p values are those of scipy 1.17: `fixtures/scipy_cases.py` wrote `fixtures/scipy.csv`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use memsample_compare::statistics::{Pooled, RankTests, moderated_t};

#[track_caller]
fn check(ours: f64, theirs: f64, line: usize) {
    assert!((ours / theirs - 1.0).abs() < 1e-9, "case {line}: {ours} is not {theirs}");
}

#[test]
fn p_values_are_those_of_scipy() {
    let mut tests = RankTests::default();
    let cases = include_str!("fixtures/scipy.csv").lines().skip(1);
    for (line, case) in cases.enumerate() {
        let columns: Vec<&str> = case.split(',').collect();
        let side = |text: &str| -> Vec<f64> {
            text.split(' ').map(|number| number.parse().unwrap()).collect()
        };
        let (base, head) = (side(columns[0]), side(columns[1]));
        let theirs: Vec<f64> = columns[2..].iter().map(|number| number.parse().unwrap()).collect();
        let ranks = tests.test(&base, &head).unwrap();
        assert_eq!(ranks.u, theirs[0], "case {line}");
        check(ranks.greater, theirs[1], line);
        check(ranks.less, theirs[2], line);
        let t = moderated_t(&base, &head, Pooled::of(&base, &head, 0.0).unwrap()).unwrap();
        check(t.greater, theirs[3], line);
        check(t.less, theirs[4], line);
    }
}
