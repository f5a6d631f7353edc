//! Where a series of numbers changed: E-divisive with Student's t in place of permutations, as Hunter and Otava do it.
//!
//! Fleming and others, "Hunter: Using Change Point Detection to Hunt for Performance Regressions", ICPE 2023, after
//! Matteson and James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", 2014.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The length of the windows that are looked at one by one. They overlap by a half.
const WINDOW: usize = 50;
/// How much weaker than it is to be in the end a change point may be in its window: others that are found with it may
/// make it stronger.
const WEAK: f64 = 10.0;

/// A number from which on a series is another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// The index of the first number behind the change.
    pub index: usize,
    /// The mean of the numbers from the change point before up to it.
    pub mean_before: f64,
    /// The mean of the numbers from it up to the next one.
    pub mean_after: f64,
    /// The probability of such a difference of the two means by chance, two-sided, at this place alone. As in Otava the
    /// variance of each side is divided by its count, so that of a few numbers it is a little too small.
    pub p: f64,
}

impl ChangePoint {
    /// The change of the mean as a share of that before.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.mean_after / self.mean_before - 1.0
    }

    /// The change as a share of the smaller one of both.
    fn magnitude(&self) -> f64 {
        self.change().abs().max((self.mean_before / self.mean_after - 1.0).abs())
    }
}

/// Returns the change points of a series in the order of time: each less likely by chance than `max_p`, and larger than
/// `min_change` as a share.
#[must_use]
pub fn change_points(series: &[f64], max_p: f64, min_change: f64) -> Vec<ChangePoint> {
    let mut points = weak_points(series, (max_p * WEAK).min(0.5));
    loop {
        let found = with_statistics(series, &points);
        let weakest = found.iter().enumerate().max_by(|a, b| {
            // Of equal ones the first.
            a.1.p.total_cmp(&b.1.p).then(b.0.cmp(&a.0))
        });
        let Some((index, weakest)) = weakest else { return found };
        let smallest = found
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.magnitude().total_cmp(&b.1.magnitude()).then(a.0.cmp(&b.0)));
        let out = match (weakest.p < max_p, smallest) {
            (false, _) => index,
            (true, Some((smallest, point))) if point.magnitude() <= min_change => smallest,
            _ => return found,
        };
        points.remove(out);
    }
}

/// Returns the indices at which the windows of a series may change, ascending.
fn weak_points(series: &[f64], max_p: f64) -> Vec<usize> {
    let mut points: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < series.len() {
        let end = (start + WINDOW).min(series.len());
        let window = series.get(start..end).unwrap_or_default();
        let found: Vec<usize> = divide(window, max_p).iter().map(|index| index + start).collect();
        points.extend(&found);
        start = (start + WINDOW / 2).max(found.last().copied().unwrap_or(0));
    }
    points.sort_unstable();
    points.dedup();
    points
}

/// Divides a window where it changes most, and its parts again, as long as that is unlikely by chance.
fn divide(window: &[f64], max_p: f64) -> Vec<usize> {
    let mut points: Vec<usize> = Vec::new();
    loop {
        let mut best: Option<(f64, usize, &[f64], usize)> = None;
        for (start, end) in parts(&points, window.len()) {
            let part = window.get(start..end).unwrap_or_default();
            if let Some((divergence, index)) = most_different(part)
                && best.is_none_or(|best| divergence > best.0)
            {
                best = Some((divergence, start + index, part, index));
            }
        }
        let Some((_, index, part, split)) = best else { return points };
        let (before, after) = part.split_at(split);
        if p_of(before, after).is_none_or(|p| p > max_p) {
            return points;
        }
        points.push(index);
        points.sort_unstable();
    }
}

/// Returns the parts between change points.
fn parts(points: &[usize], length: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = std::iter::once(0).chain(points.iter().copied());
    starts.zip(points.iter().copied().chain(std::iter::once(length)))
}

/// Returns the largest divergence of two parts that follow each other, of which the first begins with the series, and
/// where the second one begins; `None` of fewer than two numbers.
fn most_different(series: &[f64]) -> Option<(f64, usize)> {
    let distance = |i: usize, j: usize| match (series.get(i), series.get(j)) {
        (Some(one), Some(other)) => (one - other).abs(),
        _ => 0.0,
    };
    let length = series.len();
    // The sum of the distances of all pairs of the first numbers, by their count.
    let mut sum = 0.0;
    let mut within = vec![0.0];
    for last in 0..length {
        sum += (0..last).map(|i| distance(i, last)).sum::<f64>();
        within.push(sum);
    }
    let mut best: Option<(f64, usize)> = None;
    for split in 1..length {
        let n = split as f64;
        let mut behind = 0.0;
        for end in split + 1..=length {
            let last = end - 1;
            behind += (split..last).map(|i| distance(i, last)).sum::<f64>();
            let m = (end - split) as f64;
            let before = get(&within, split);
            let between = get(&within, end) - before - behind;
            let mut divergence = 2.0 / (n + m) * between;
            if split > 1 {
                divergence -= 2.0 * m / (n + m) / (n - 1.0) * before;
            }
            if end - split > 1 {
                divergence -= 2.0 * n / (n + m) / (m - 1.0) * behind;
            }
            if best.is_none_or(|best| divergence > best.0) {
                best = Some((divergence, split));
            }
        }
    }
    best
}

fn get(values: &[f64], index: usize) -> f64 {
    values.get(index).copied().unwrap_or(0.0)
}

fn with_statistics(series: &[f64], points: &[usize]) -> Vec<ChangePoint> {
    let parts: Vec<(usize, usize)> = parts(points, series.len()).collect();
    let of = |(start, end): (usize, usize)| series.get(start..end).unwrap_or_default();
    let pairs = parts.iter().zip(parts.iter().skip(1));
    pairs
        .map(|(&before, &after)| ChangePoint {
            index: after.0,
            mean_before: mean(of(before)),
            mean_after: mean(of(after)),
            p: p_of(of(before), of(after)).unwrap_or(1.0),
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the two-sided p value of Student's t; `None` where there are too few numbers, or all are equal.
fn p_of(before: &[f64], after: &[f64]) -> Option<f64> {
    let (n, m) = (before.len() as f64, after.len() as f64);
    let freedom = n + m - 2.0;
    if freedom < 1.0 {
        return None;
    }
    let variance = |values: &[f64], mean: f64| {
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
    };
    let (mean_before, mean_after) = (mean(before), mean(after));
    let pooled = ((n - 1.0) * variance(before, mean_before)
        + (m - 1.0) * variance(after, mean_after))
        / freedom;
    let difference = (mean_after - mean_before).abs();
    if difference == 0.0 {
        return None;
    }
    if pooled == 0.0 {
        return Some(0.0);
    }
    let t = difference / (pooled * (1.0 / n + 1.0 / m)).sqrt();
    let distribution = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some((2.0 * distribution.sf(t)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(series: &[f64]) -> Vec<usize> {
        change_points(series, 0.001, 0.0).iter().map(|point| point.index).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let noise = |index: usize| ((index * 7919) % 13) as f64 / 13.0;
        let series: Vec<f64> =
            (0..30).map(|index| noise(index) + if index < 17 { 100.0 } else { 110.0 }).collect();
        assert_eq!(indices(&series), [17]);
        let found = change_points(&series, 0.001, 0.0);
        assert!((found[0].change() - 0.1).abs() < 0.01);
        assert!(change_points(&series, 0.001, 0.2).is_empty());
    }

    #[test]
    fn what_does_not_change_has_none() {
        assert_eq!(indices(&[]), Vec::<usize>::new());
        assert_eq!(indices(&[1.0]), Vec::<usize>::new());
        assert_eq!(indices(&[5.0; 40]), Vec::<usize>::new());
        let noise: Vec<f64> = (0..60).map(|index| ((index * 7919) % 101) as f64).collect();
        assert_eq!(indices(&noise), Vec::<usize>::new());
    }

    #[test]
    fn two_steps_of_a_constant_are_both_found() {
        let series: Vec<f64> = (0..24).map(|index| [1.0, 2.0, 1.5][index / 8]).collect();
        assert_eq!(indices(&series), [8, 16]);
    }
}
