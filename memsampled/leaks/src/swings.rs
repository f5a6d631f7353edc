//! Whether a series swings: garbage collection, requests, restarts.

use super::series::{Sample, quantile};

/// What a series does around its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swings {
    /// Complete swings up and down.
    pub(crate) cycles: usize,
    /// The distance of its 5 and 95 % quantiles from the line, in bytes.
    pub(crate) swing: f64,
}

/// Counts swings around the line with the slope, in bytes each second, by hysteresis.
pub(crate) fn swings(samples: &[Sample], slope: f64) -> Swings {
    let mut level: Vec<f64> =
        samples.iter().map(|sample| sample.bytes - slope * sample.time_s).collect();
    let mut steps: Vec<f64> =
        level.iter().zip(level.iter().skip(1)).map(|(a, b)| (b - a).abs()).collect();
    let noise = quantile(&mut steps, 0.5) * 1.4826 / std::f64::consts::SQRT_2;
    let around = level.clone();
    let low = quantile(&mut level, 0.05);
    let high = quantile(&mut level, 0.95);
    let swing = high - low;
    let middle = low.midpoint(high);
    // From -1/4 to +1/4 of the swing; what is only noise does not get there.
    let half = (swing / 4.0).max(4.0 * noise);
    let mut is_up = None;
    let mut turns = 0_usize;
    for value in around {
        let now = if value > middle + half {
            true
        } else if value < middle - half {
            false
        } else {
            continue;
        };
        turns += usize::from(is_up.is_some_and(|before| before != now));
        is_up = Some(now);
    }
    Swings { cycles: if swing > 0.0 { turns / 2 } else { 0 }, swing }
}
