//! The shape of a series: its level in blocks, without swings and warm-up.

use super::series::{Sample, quantile, span_s};
use super::slope::{Point, intercept, theil_sen};
use super::swings::{Swings, swings};

/// Blocks of a series.
const BLOCKS: usize = 40;
/// What is judged needs as many.
pub(crate) const MIN_BLOCKS: usize = 12;
/// From so many cycles on a series swings.
const MIN_CYCLES: usize = 4;
/// The least part of a series that must be left after its warm-up.
const LEAST_LEFT: f64 = 0.34;

/// The level of a series over time.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The level of each block: its median, or its minimum where the series swings. x in seconds.
    pub(crate) level: Vec<Point>,
    /// The median of each block.
    pub(crate) medians: Vec<Point>,
    pub(crate) swings: Swings,
    pub(crate) is_cyclic: bool,
    /// The seconds before the first sample after the warm-up.
    pub(crate) warm_up_s: f64,
    /// Less is left than what can be judged.
    pub(crate) is_all_warm_up: bool,
}

impl Shape {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let mut shape = Self::from(samples, 0);
        for _ in 0..2 {
            let Some(cut) = warm_up_end(&shape.level) else { break };
            let first = samples.partition_point(|sample| sample.time_s < cut);
            let left = span_s(samples.get(first..).unwrap_or_default());
            if left < LEAST_LEFT * span_s(samples)
                || samples.len() - first < 240.min(samples.len() / 3)
            {
                shape.is_all_warm_up = true;
                break;
            }
            shape = Self::from(samples, first);
        }
        shape
    }

    fn from(samples: &[Sample], first: usize) -> Self {
        let start_s = samples.first().map_or(0.0, |sample| sample.time_s);
        let left = samples.get(first..).unwrap_or_default();
        let medians = blocks(left, BLOCKS, |values| quantile(values, 0.5));
        let slope = theil_sen(&medians);
        let swings = swings(left, slope);
        let growth = (slope * span_s(left)).abs();
        let is_cyclic = swings.cycles >= MIN_CYCLES && swings.swing > growth / 2.0;
        let level = match is_cyclic {
            true => blocks(left, (swings.cycles / 2).min(BLOCKS), |values| quantile(values, 0.0)),
            false => medians.clone(),
        };
        let warm_up_s = left.first().map_or(0.0, |sample| sample.time_s - start_s);
        Self { level, medians, swings, is_cyclic, warm_up_s, is_all_warm_up: false }
    }
}

/// Values of blocks of equally many samples; a gap makes a block longer.
fn blocks(samples: &[Sample], count: usize, value: impl Fn(&mut [f64]) -> f64) -> Vec<Point> {
    let count = count.clamp(1, samples.len().max(1));
    (0..count)
        .filter_map(|at| {
            let block =
                samples.get(at * samples.len() / count..(at + 1) * samples.len() / count)?;
            let mut values: Vec<f64> = block.iter().map(|sample| sample.bytes).collect();
            let x =
                block.iter().map(|sample| sample.time_s).sum::<f64>() / block.len().max(1) as f64;
            (!block.is_empty()).then(|| Point { x, y: value(&mut values) })
        })
        .collect()
}

/// Where the best continuous line of two segments breaks, if it pays and the second part is less than half as
/// steep: the end of a warm-up.
fn warm_up_end(points: &[Point]) -> Option<f64> {
    let count = points.len();
    if count < MIN_BLOCKS {
        return None;
    }
    let straight = least_squares(points, f64::INFINITY)?;
    let mut best: Option<([f64; 3], f64, f64)> = None;
    for at in 2..count - 3 {
        let break_x = points.get(at)?.x;
        if let Some((line, error)) = least_squares(points, break_x)
            && best.is_none_or(|(_, least, _)| error < least)
        {
            best = Some((line, error, break_x));
        }
    }
    let (line, error, break_x) = best?;
    let (before, after) = (line[1], line[1] + line[2]);
    let size = count as f64;
    let tiny = 1e-9 * (1.0 + straight.1);
    // Two parameters more: the second slope and the place of the break.
    let pays = size * ((error + tiny) / (straight.1 + tiny)).ln() + 2.0 * 2.0 * size.ln() < 0.0;
    // Random steps are bent by chance, and far from either line.
    let explains = error + tiny < 0.1 * (straight.1 + tiny);
    (pays && explains && before > 0.0 && after.abs() < before / 2.0).then_some(break_x)
}

/// Fits y = a + b x + c max(0, x − break), and returns the parameters and the sum of squares.
fn least_squares(points: &[Point], break_x: f64) -> Option<([f64; 3], f64)> {
    let origin = points.first()?.x;
    let scale = (points.last()?.x - origin).max(f64::MIN_POSITIVE);
    let slope = theil_sen(points);
    let base = intercept(points, slope);
    let row = |point: &Point| {
        let x = (point.x - origin) / scale;
        [1.0, x, if break_x.is_finite() { ((point.x - break_x) / scale).max(0.0) } else { 0.0 }]
    };
    let used = if break_x.is_finite() { 3 } else { 2 };
    let mut matrix = [[0.0; 4]; 3];
    for point in points {
        let row = row(point);
        let y = point.y - base - slope * point.x;
        for (line, a) in matrix.iter_mut().zip(row).take(used) {
            for (cell, b) in line.iter_mut().zip(row) {
                *cell += a * b;
            }
            line[3] += a * y;
        }
    }
    let solved = solve(matrix, used)?;
    let error = points
        .iter()
        .map(|point| {
            let fit: f64 = row(point).iter().zip(solved).map(|(a, b)| a * b).sum();
            (point.y - base - slope * point.x - fit).powi(2)
        })
        .sum();
    let [a, b, c] = solved;
    Some(([a, b / scale + slope, c / scale], error))
}

/// Solves by elimination; the matrix is symmetric and positive.
fn solve(mut matrix: [[f64; 4]; 3], used: usize) -> Option<[f64; 3]> {
    for at in 0..used {
        let line = *matrix.get(at)?;
        let pivot = *line.get(at)?;
        if pivot.abs() < 1e-12 {
            return None;
        }
        for (other, row) in
            matrix.iter_mut().enumerate().filter(|&(other, _)| other != at).take(used)
        {
            if other >= used {
                continue;
            }
            let factor = *row.get(at)? / pivot;
            for (cell, value) in row.iter_mut().zip(line) {
                *cell -= factor * value;
            }
        }
    }
    let mut solved = [0.0; 3];
    for at in 0..used {
        let line = matrix.get(at)?;
        *solved.get_mut(at)? = line[3] / line.get(at)?;
    }
    Some(solved)
}
