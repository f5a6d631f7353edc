//! Verdicts on series of known truth: slow (> 5 s). `docs/leaks.md` has the table that it prints.

mod kinds;

use std::collections::BTreeMap;

use kinds::{HEALTHY, HELD_BACK, Kind, LEAKING, series};
use memsample_leaks::{Verdict, judge};

/// Thresholds were chosen by seeds below it.
const HELD_BACK_SEEDS: u64 = 120_000;

/// The verdicts of a hundred seeds.
fn verdicts(kind: &Kind, from: u64) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for seed in from..from + 100 {
        let said = judge(&series(kind, seed));
        *counts.entry(said.verdict.word()).or_default() += 1;
    }
    counts
}

#[test]
fn slow_no_healthy_series_is_called_a_leak_and_leaks_are_found() {
    let mut wrong = Vec::new();
    println!(
        "| kind | held back | leaks | steady | filling | one_off | cannot_tell |\n|---|---|---|---|---|---|---|"
    );
    for (kinds, leaks) in [(HEALTHY, false), (LEAKING, true)] {
        for kind in kinds {
            let counts = verdicts(kind, HELD_BACK_SEEDS);
            let of = |verdict: Verdict| counts.get(verdict.word()).copied().unwrap_or(0);
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                kind.0,
                if HELD_BACK.contains(&kind.0) { "yes" } else { "" },
                of(Verdict::Leaks),
                of(Verdict::Steady),
                of(Verdict::Filling),
                of(Verdict::OneOff),
                of(Verdict::CannotTell)
            );
            let is_right = match leaks {
                true => of(Verdict::Leaks) >= 99 && of(Verdict::Steady) == 0,
                false => of(Verdict::Leaks) == 0,
            };
            if !is_right {
                wrong.push((kind.0, counts));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_same_series_has_the_same_judgement() {
    for kind in LEAKING.iter().chain(HEALTHY).take(3) {
        assert_eq!(judge(&series(kind, 7)), judge(&series(kind, 7)), "{}", kind.0);
    }
}

#[test]
fn the_rate_of_a_leak_is_in_its_interval() {
    let kind = LEAKING.iter().find(|kind| kind.0 == "linear").expect("a line leaks");
    let mut within = 0;
    for seed in 0..100 {
        let series = series(kind, seed);
        let rate = judge(&series).by_hour.expect("it is long enough");
        // The generator adds 15 % of 100 MiB to the hour.
        let truth = 15.0 * 1024.0 * 1024.0;
        within += usize::from((rate.lower..=rate.upper).contains(&truth));
    }
    assert!(within >= 95, "{within} of 100 intervals have the true rate");
}
