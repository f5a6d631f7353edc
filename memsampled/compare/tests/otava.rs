//! Our change points are those of apache-otava 0.8: `fixtures/otava_cases.py` wrote `fixtures/otava.csv`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use memsample_compare::statistics::change_points;

#[test]
fn change_points_are_those_of_otava() {
    let mut found = 0;
    for (line, case) in include_str!("fixtures/otava.csv").lines().skip(1).enumerate() {
        let (series, points) = case.split_once(',').unwrap();
        let series: Vec<f64> = series.split(' ').map(|number| number.parse().unwrap()).collect();
        let ours = change_points(&series, 0.001, 0.01);
        let theirs: Vec<Vec<f64>> = points
            .split_whitespace()
            .map(|point| point.split(':').map(|number| number.parse().unwrap()).collect())
            .collect();
        let index =
            |points: &[Vec<f64>]| points.iter().map(|it| it[0] as usize).collect::<Vec<_>>();
        let our_index: Vec<usize> = ours.iter().map(|point| point.index).collect();
        assert_eq!(our_index, index(&theirs), "case {line}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let is_near =
                |ours: f64, theirs: f64| (ours - theirs).abs() <= 1e-9 * theirs.abs() + 1e-300;
            assert!(is_near(ours.mean_before, theirs[1]), "case {line}");
            assert!(is_near(ours.mean_after, theirs[2]), "case {line}");
            // The tail of Student's t is computed in another way.
            assert!(
                (ours.p - theirs[3]).abs() <= 1e-6 * theirs[3] + 1e-12,
                "case {line}: {} {}",
                ours.p,
                theirs[3]
            );
        }
        found += ours.len();
    }
    assert!(found > 60, "only {found}");
}
