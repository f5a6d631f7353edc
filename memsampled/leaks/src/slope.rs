//! The slope of a line through points, by Theil and Sen, and its interval by resampling.

use super::series::quantile;

/// A point of a curve; x in seconds or cycles, y in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// Resamples of a slope.
pub(crate) const RESAMPLES: usize = 600;

/// The same series gets the same verdict.
const SEED: u64 = 0x6c65_616b_7321;

/// The median of the slopes of all pairs.
pub(crate) fn theil_sen(points: &[Point]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (at, a) in points.iter().enumerate() {
        for b in points.iter().skip(at + 1) {
            if b.x > a.x {
                slopes.push((b.y - a.y) / (b.x - a.x));
            }
        }
    }
    quantile(&mut slopes, 0.5)
}

/// The line's value at x = 0.
pub(crate) fn intercept(points: &[Point], slope: f64) -> f64 {
    quantile(&mut points.iter().map(|point| point.y - slope * point.x).collect::<Vec<_>>(), 0.5)
}

/// Slopes of the line, each with its residuals drawn anew in blocks, in ascending order.
///
/// Blocks are as long as residuals are alike: an eighth of the points, or a quarter where neighbours are.
pub(crate) fn resampled_slopes(points: &[Point], stream: u64) -> Vec<f64> {
    let slope = theil_sen(points);
    let base = intercept(points, slope);
    let residuals: Vec<f64> = points.iter().map(|p| p.y - base - slope * p.x).collect();
    let alike = autocorrelation(&residuals);
    let count = points.len();
    let length = if alike > 0.4 { count.div_ceil(4) } else { count.div_ceil(8) }.max(2);
    // Residuals are smaller than errors, and blocks hide what is longer than they are.
    let wider =
        (count as f64 / (count as f64 - 2.0).max(1.0)).sqrt() * (1.1 + 0.6 * alike.max(0.0));
    let mut random = fastrand::Rng::with_seed(SEED ^ stream);
    let mut drawn = points.to_vec();
    let mut slopes: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut from = 0;
            for (at, point) in drawn.iter_mut().enumerate() {
                if at % length == 0 {
                    from = random.usize(..count);
                }
                let residual = residuals.get((from + at % length) % count).copied().unwrap_or(0.0);
                point.y = base + slope * point.x + residual;
            }
            slope + wider * (theil_sen(&drawn) - slope)
        })
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes
}

fn autocorrelation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let lagged: f64 =
        values.iter().zip(values.iter().skip(1)).map(|(a, b)| (a - mean) * (b - mean)).sum();
    if square > 0.0 { lagged / square } else { 0.0 }
}
