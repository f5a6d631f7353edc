//! Suites of 100 tests whose truth is known: how often something is called worse that is not, and how often a growth of
//! 5 % is found. Slow: about fifteen seconds. docs/compare.md has the figures that this prints with `--nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::f64::consts::TAU;

use fastrand::Rng;
use memsample_compare::decision::{Case, Numbers, Verdict, decide};

const SUITES: usize = 1000;
const TESTS: usize = 100;
const REPEATS: usize = 5;
const NOISE: f64 = 0.02;
/// The logarithm of a growth of 5 %.
const GROWTH: f64 = 0.048_790_164_169_432;

/// What noise looks like. Each has a standard deviation of 2 %, or of 2 % in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Noise {
    Gauss,
    Lognormal,
    /// Of Student's t with 4 degrees of freedom: far values are frequent.
    HeavyTails,
    /// Tests vary by 0.7 % to 5.7 %, each by its own; the changed one by 2 %.
    Unequal,
    /// A test has one of two levels, 4 % apart.
    TwoModes,
    /// Gaussian, and one repeat of 25 is 8 to 25 % above.
    Spikes,
}

fn gauss(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}

impl Noise {
    /// Draws one number; `scale` is that of its test.
    fn draw(self, rng: &mut Rng, scale: f64) -> f64 {
        match self {
            Self::Gauss | Self::Unequal => scale * gauss(rng),
            // Skewed as memory is: the exponential of a Gaussian, of a mean of 0 and a deviation of `scale`.
            Self::Lognormal => scale * ((0.5 * gauss(rng)).exp() - 1.133_15) / 0.603_90,
            Self::HeavyTails => {
                let chi: f64 = (0..4).map(|_| gauss(rng).powi(2)).sum();
                scale * gauss(rng) / (chi / 4.0).sqrt() / 2.0_f64.sqrt()
            }
            Self::TwoModes => {
                let level = if rng.bool() { 0.9 } else { -0.9 };
                scale * (level + 0.19_f64.sqrt() * gauss(rng))
            }
            Self::Spikes => {
                let spike = if rng.f64() < 0.04 { (1.08 + 0.17 * rng.f64()).ln() } else { 0.0 };
                scale * gauss(rng) + spike
            }
        }
    }

    fn scale(self, rng: &mut Rng, is_changed: bool) -> f64 {
        match self {
            Self::Unequal if !is_changed => NOISE * (0.35 * gauss(rng)).exp(),
            _ => NOISE,
        }
    }
}

/// What came of a suite.
#[derive(Default)]
struct Outcome {
    is_false: bool,
    is_found: bool,
    /// Repeats of suspects, of both sides.
    more: usize,
}

/// Runs a suite, compares, runs the suspects again, and compares again until there are none, as a user does.
fn suite(noise: Noise, rng: &mut Rng, has_change: bool) -> Outcome {
    let scales: Vec<f64> =
        (0..TESTS).map(|test| noise.scale(rng, has_change && test == 0)).collect();
    let growth = |test| if has_change && test == 0 { GROWTH } else { 0.0 };
    let mut cases: Vec<Case> = Vec::new();
    for (test, &scale) in scales.iter().enumerate() {
        let base = (0..REPEATS).map(|_| noise.draw(rng, scale)).collect();
        let head = (0..REPEATS).map(|_| noise.draw(rng, scale) + growth(test)).collect();
        let numbers = Numbers { base, head };
        let (floor, least_variance) = (0.01_f64.ln_1p(), 1e-10);
        cases.push(Case { first: numbers.clone(), all: numbers, least_variance, floor, family: 0 });
    }
    let mut outcome = Outcome::default();
    loop {
        let decisions = decide(&cases, 0.02_f64.ln_1p());
        let decisions: Vec<_> = decisions.into_iter().map(Option::unwrap).collect();
        let mut is_done = true;
        for ((test, case), decision) in cases.iter_mut().enumerate().zip(&decisions) {
            if decision.verdict != Verdict::Suspect {
                continue;
            }
            is_done = false;
            for _ in 0..decision.more_base.unwrap() {
                case.all.base.push(noise.draw(rng, scales[test]));
            }
            for _ in 0..decision.more_head.unwrap() {
                case.all.head.push(noise.draw(rng, scales[test]) + growth(test));
            }
            outcome.more += (decision.more_base.unwrap() + decision.more_head.unwrap()) as usize;
        }
        if is_done {
            let is_changed = |it: &Verdict| matches!(it, Verdict::Worse | Verdict::Better);
            let verdicts: Vec<_> = decisions.iter().map(|it| it.verdict).collect();
            outcome.is_found = has_change && verdicts[0] == Verdict::Worse;
            let unchanged = verdicts.iter().skip(usize::from(has_change));
            outcome.is_false = unchanged.filter(|it| is_changed(it)).count() > 0;
            return outcome;
        }
    }
}

/// Returns the shares of suites with a false verdict, of changes found, and of further test runs, in percent.
fn figures(noise: Noise, seed: u64) -> (f64, f64, f64) {
    let mut rng = Rng::with_seed(seed);
    let percent = |count: usize, of: usize| 100.0 * count as f64 / of as f64;
    let unchanged: Vec<Outcome> = (0..SUITES).map(|_| suite(noise, &mut rng, false)).collect();
    let changed: Vec<Outcome> = (0..SUITES).map(|_| suite(noise, &mut rng, true)).collect();
    let count =
        |suites: &[Outcome], is: fn(&Outcome) -> bool| suites.iter().filter(|it| is(it)).count();
    let more: usize = unchanged.iter().map(|it| it.more).sum();
    let figures = (
        percent(count(&unchanged, |it| it.is_false), SUITES),
        percent(count(&changed, |it| it.is_found), SUITES),
        percent(more, SUITES * TESTS * 2 * REPEATS),
    );
    println!("| {noise:?} | {:.1} % | {:.1} % | {:.1} % |", figures.0, figures.1, figures.2);
    figures
}

#[track_caller]
fn check(noise: Noise) {
    let (is_false, found, more) = figures(noise, 7);
    assert!(is_false <= 5.0, "{noise:?}: a false verdict in {is_false} % of suites");
    assert!(found >= 95.0, "{noise:?}: {found} % of changes were found");
    assert!(more <= 25.0, "{noise:?}: {more} % more test runs");
}

#[test]
fn slow_gaussian_noise() {
    check(Noise::Gauss);
}

#[test]
fn slow_lognormal_noise() {
    check(Noise::Lognormal);
}

#[test]
fn slow_noise_with_heavy_tails() {
    check(Noise::HeavyTails);
}

#[test]
fn slow_noise_that_differs_from_test_to_test() {
    check(Noise::Unequal);
}

#[test]
fn slow_noise_of_two_modes() {
    check(Noise::TwoModes);
}

#[test]
fn slow_spikes_raise_no_alarm_and_hide_some_changes() {
    let (is_false, found, more) = figures(Noise::Spikes, 7);
    assert!(is_false <= 5.0 && found >= 60.0 && more <= 25.0, "{is_false} {found} {more}");
}
