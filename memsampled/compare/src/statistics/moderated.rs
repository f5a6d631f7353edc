//! The moderated t-test of Smyth (2004): what many tests vary by tells more of one test than its five repeats.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::digamma;

/// The variance within both sides of a comparison, around the mean of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// The variance, in the square of the unit of the numbers.
    pub variance: f64,
    /// Its degrees of freedom: the numbers of both sides less two.
    pub degrees: f64,
}

impl Pooled {
    /// Returns the variance of both sides, `at_least` that of the instrument; `None` where there are fewer than three
    /// numbers, or none on a side.
    #[must_use]
    pub fn of(base: &[f64], head: &[f64], at_least: f64) -> Option<Self> {
        let degrees = (base.len() + head.len()).checked_sub(2).filter(|&degrees| degrees > 0)?;
        let degrees = degrees as f64;
        let squares = |side: &[f64]| {
            let mean = mean(side)?;
            Some(side.iter().map(|value| (value - mean).powi(2)).sum::<f64>())
        };
        let variance = (squares(base)? + squares(head)?) / degrees;
        // Zero has no logarithm, and no instrument is that exact.
        Some(Self { variance: variance.max(at_least).max(f64::MIN_POSITIVE), degrees })
    }
}

/// What the variances of many comparisons say of that of any one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// The variance to expect.
    pub variance: f64,
    /// How many degrees of freedom that is worth; infinite where all comparisons vary by the same.
    pub degrees: f64,
}

/// With fewer comparisons than this, what their variances have in common is not known well enough to rely on it.
const MIN_COMPARISONS: usize = 10;

impl Prior {
    /// Estimates it by the moments of the logarithms of the variances; `None` where there are fewer than ten, so that each
    /// comparison stands by itself.
    #[must_use]
    pub fn of(variances: &[Pooled]) -> Option<Self> {
        if variances.len() < MIN_COMPARISONS {
            return None;
        }
        let count = variances.len() as f64;
        let logs: Vec<f64> = variances
            .iter()
            .map(|it| it.variance.ln() - digamma(it.degrees / 2.0) + (it.degrees / 2.0).ln())
            .collect();
        let mean_log = mean(&logs)?;
        let spread = logs.iter().map(|log| (log - mean_log).powi(2)).sum::<f64>() / (count - 1.0);
        // What the variances vary by because each is an estimate itself.
        let own = variances.iter().map(|it| trigamma(it.degrees / 2.0)).sum::<f64>() / count;
        let excess = spread - own;
        if excess <= 0.0 {
            return Some(Self { variance: mean_log.exp(), degrees: f64::INFINITY });
        }
        let half = inverse_trigamma(excess);
        let variance = (mean_log + digamma(half) - half.ln()).exp();
        Some(Self { variance, degrees: 2.0 * half })
    }

    /// Returns a variance as it is best estimated with what is known of the others.
    #[must_use]
    pub fn moderate(prior: Option<Self>, own: Pooled) -> Pooled {
        match prior {
            None => own,
            Some(prior) if prior.degrees.is_infinite() => {
                Pooled { variance: prior.variance, degrees: f64::INFINITY }
            }
            Some(prior) => {
                let degrees = prior.degrees + own.degrees;
                let sum = prior.degrees * prior.variance + own.degrees * own.variance;
                Pooled { variance: sum / degrees, degrees }
            }
        }
    }
}

/// The probabilities of a difference as large as the observed one or larger, where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tails {
    /// That the head is as far above the base.
    pub greater: f64,
    /// That it is as far below.
    pub less: f64,
}

/// Tests whether the means of both sides differ, with a moderated variance; `None` where a side is empty.
#[must_use]
pub fn moderated_t(base: &[f64], head: &[f64], moderated: Pooled) -> Option<Tails> {
    let difference = mean(head)? - mean(base)?;
    let scale =
        moderated.variance.sqrt() * (1.0 / base.len() as f64 + 1.0 / head.len() as f64).sqrt();
    let t = difference / scale;
    let (greater, less) = if moderated.degrees.is_infinite() {
        let normal = Normal::new(0.0, 1.0).ok()?;
        (normal.sf(t), normal.cdf(t))
    } else {
        let student = StudentsT::new(0.0, 1.0, moderated.degrees).ok()?;
        (student.sf(t), student.cdf(t))
    };
    Some(Tails { greater, less })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The derivative of the digamma function, for `x` above 0: by recurrence up to where its asymptotic series is exact.
fn trigamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = 1.0 / 6.0
        - square
            * (1.0 / 30.0 - square * (1.0 / 42.0 - square * (1.0 / 30.0 - square * 5.0 / 66.0)));
    sum + 1.0 / x + square / 2.0 + square / x * series
}

/// The second derivative of the digamma function, for `x` above 0.
fn tetragamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 2.0 / (x * x * x);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = 0.5 - square * (1.0 / 6.0 - square * (1.0 / 6.0 - square * 0.3));
    sum - square - square / x - square * square * series
}

/// Inverts [`trigamma`] by Newton's steps on its reciprocal, which is nearly straight.
fn inverse_trigamma(y: f64) -> f64 {
    // Both ends, where the steps would lose all digits.
    if y > 1e7 {
        return 1.0 / y.sqrt();
    }
    if y < 1e-6 {
        return 1.0 / y;
    }
    let mut x = 0.5 + 1.0 / y;
    for _ in 0..50 {
        let value = trigamma(x);
        let step = value * (1.0 - value / y) / tetragamma(x);
        x += step;
        if -step / x < 1e-10 {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-10, "{value} is not {expected}");
    }

    #[test]
    fn polygammas_have_their_known_values() {
        let pi = std::f64::consts::PI;
        check(trigamma(1.0), pi * pi / 6.0);
        check(trigamma(0.5), pi * pi / 2.0);
        check(trigamma(4.0), pi * pi / 6.0 - 1.0 - 0.25 - 1.0 / 9.0);
        // -2 zeta(3)
        check(tetragamma(1.0), -2.404_113_806_319_188_6);
        for x in [1e-3, 0.1, 0.7, 1.0, 4.0, 33.0, 1e4, 1e6] {
            let back = inverse_trigamma(trigamma(x));
            assert!((back / x - 1.0).abs() < 1e-6, "{x} became {back}");
        }
    }

    #[test]
    fn the_same_noise_everywhere_is_worth_any_number_of_repeats() {
        let same = Pooled { variance: 4.0, degrees: 8.0 };
        let prior = Prior::of(&[same; 20]).unwrap();
        assert!(prior.degrees.is_infinite());
        assert_eq!(Prior::moderate(Some(prior), same).variance, prior.variance);
        assert_eq!(Prior::of(&[same; 9]), None);
        assert_eq!(Prior::moderate(None, same), same);
    }

    #[test]
    fn without_noise_the_variance_is_that_of_the_instrument() {
        let equal = Pooled::of(&[1.0; 5], &[1.0; 5], 0.25).unwrap();
        assert_eq!(equal, Pooled { variance: 0.25, degrees: 8.0 });
        assert!(Pooled::of(&[1.0; 5], &[1.0; 5], 0.0).unwrap().variance > 0.0);
        assert_eq!(Pooled::of(&[1.0], &[1.0], 0.0), None);
        assert_eq!(Pooled::of(&[], &[1.0, 2.0, 3.0], 0.0), None);
    }
}
