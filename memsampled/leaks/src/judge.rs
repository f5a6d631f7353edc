//! Judges a series, step by step.

use super::judgement::{Judgement, Rate, Verdict};
use super::series::{Sample, Series, gaps, quantile, span_s};
use super::shape::{MIN_BLOCKS, Shape};
use super::slope::{Point, RESAMPLES, intercept, resampled_slopes, theil_sen};

/// Fewer samples are not judged.
pub const MIN_SAMPLES: usize = 240;

/// Growth that counts: a share of the level, and bytes.
const FLOOR_SHARE: f64 = 0.005;
const FLOOR_BYTES: f64 = 0.25 * 1024.0 * 1024.0;
/// What may hide in the noise of a steady series, as a multiple of the floor.
const HIDDEN: f64 = 4.0;
/// The share of resamples on each side of the interval.
const TAIL: f64 = 0.005;
/// The largest share of all growth in one quarter and in one step of what leaks.
const QUARTER: f64 = 0.62;
const STEP: f64 = 0.55;
/// A last half that is slower than this share of the first is filling.
const SLOWER: f64 = 0.7;
/// What grows in bursts goes down by less than this share of what it goes up.
const MOST_DOWN: f64 = 0.15;
/// Its growth from block to block changes by more than this share of the mean.
const BURST: f64 = 0.7;
/// The least share of the blocks that nine tenths of the growth come in, and that behind a warm-up.
const GROWING: f64 = 0.2;
const GROWING_AFTER_WARM_UP: f64 = 0.35;
/// A last half that grows by less than this share of the first is slower, and not by chance.
const MUCH_SLOWER: f64 = 0.31;
/// The least growth of what leaks, in standard deviations of the blocks from the line.
const MIN_CHANGES: f64 = 4.0;
/// The quantile of the normal distribution above which 1 % are.
const Z: f64 = 2.33;
/// The least share of the mean growth of a quarter in each of them.
const PAUSE: f64 = 0.08;
/// The least share of a swing that growth must reach.
const WITHIN_SWING: f64 = 0.1;

/// Judges a series; the same series always gets the same judgement.
#[must_use]
pub fn judge(series: &Series) -> Judgement {
    judge_within(series, 0.0)
}

/// Judges a series whose samples may each be off by so many bytes: growth below that is none that can be told.
#[must_use]
pub fn judge_within(series: &Series, error_bytes: f64) -> Judgement {
    let samples = series.samples();
    let (gaps, longest_gap_s) = gaps(samples);
    let mut said = Judgement {
        verdict: Verdict::CannotTell,
        reason: String::new(),
        by_hour: None,
        by_cycle: None,
        confidence: None,
        samples: samples.len(),
        warm_up_s: 0.0,
        gaps,
        longest_gap_s,
        level_bytes: None,
    };
    if samples.len() < MIN_SAMPLES {
        said.reason = too_few(samples.len());
        return said;
    }
    let shape = Shape::of(samples);
    said.warm_up_s = shape.warm_up_s;
    if longest_gap_s > span_s(samples) / 4.0 {
        said.reason = "a gap takes more than a quarter of the time".to_owned();
        return said;
    }
    if shape.level.len() < MIN_BLOCKS {
        said.reason = format!(
            "it swings, and only {} times; {} swings are needed to see what stays",
            shape.swings.cycles,
            2 * MIN_BLOCKS
        );
        return said;
    }
    let slopes = resampled_slopes(&shape.level, 0);
    said.by_hour = Some(rate(&shape.level, &slopes, 3600.0));
    said.by_cycle = by_cycle(samples, &shape);
    let slope = theil_sen(&shape.level);
    let end_s = samples.last().map_or(0.0, |sample| sample.time_s);
    said.level_bytes = Some((intercept(&shape.level, slope) + slope * end_s).max(0.0));
    let (verdict, reason, confidence) = decide(&shape, slope, &slopes);
    let grown = rise(&envelope(&shape.level));
    if verdict != Verdict::Steady && verdict != Verdict::CannotTell && grown < error_bytes {
        said.reason = "it grows by less than the counters of the kernel may be off".to_owned();
        return said;
    }
    said.verdict = verdict;
    said.reason = reason;
    said.confidence = confidence;
    said
}

fn too_few(samples: usize) -> String {
    let plural = if samples == 1 { "" } else { "s" };
    format!("only {samples} sample{plural}; {MIN_SAMPLES} are needed")
}

/// Decides by the level of the blocks, and says with which share of resamples.
fn decide(shape: &Shape, slope: f64, slopes: &[f64]) -> (Verdict, String, Option<f64>) {
    let cannot_tell = |reason: &str| (Verdict::CannotTell, reason.to_owned(), None);
    let level = &shape.level;
    let (Some(first), Some(last)) = (level.first(), level.last()) else {
        return cannot_tell("it has no level");
    };
    let span = (last.x - first.x).max(f64::MIN_POSITIVE);
    let height = quantile(&mut level.iter().map(|point| point.y).collect::<Vec<_>>(), 0.5);
    let floor = (FLOOR_SHARE * height).max(FLOOR_BYTES);
    let (low, high) = (tail(slopes, TAIL), tail(slopes, 1.0 - TAIL));
    let share = |holds: &dyn Fn(f64) -> bool| {
        slopes.iter().filter(|&&slope| holds(slope)).count() as f64 / slopes.len().max(1) as f64
    };
    let envelope = envelope(level);
    let growth = rise(&envelope);
    let steps = envelope.iter().zip(envelope.iter().skip(1)).map(|(a, b)| b.y - a.y);
    let largest_step = steps.fold(0.0, f64::max);
    if low <= 0.0 || slope * span < floor {
        // A step is no line, so that the interval of a line says little of it.
        let noise = quantile(&mut steps_of(level), 0.5);
        if !shape.is_cyclic && growth > floor.max(8.0 * noise) && largest_step > STEP * growth {
            let why = "most of its growth came at once, and stayed";
            return (Verdict::OneOff, why.to_owned(), Some(share(&|slope| slope > 0.0)));
        }
        if high * span > HIDDEN * floor {
            return cannot_tell("growth that counts could hide in its noise; record for longer");
        }
        // What swings may grow above its lowest points.
        let upper = resampled_slopes(&shape.medians, 1);
        if shape.is_cyclic && tail(&upper, TAIL) * span > HIDDEN * floor {
            return cannot_tell("what it falls back to does not grow, and its usual level does");
        }
        let why = match slope * span <= -floor {
            true => "it falls",
            false => "it does not grow by what counts",
        };
        let confidence = share(&|slope| slope * span < HIDDEN * floor);
        return (Verdict::Steady, why.to_owned(), Some(confidence));
    }
    if growth < floor {
        return cannot_tell("it grew, and fell back");
    }
    let confidence = share(&|slope| slope > 0.0);
    let quarters = quarters(&envelope);
    let largest_quarter = quarters.iter().copied().fold(0.0, f64::max);
    if largest_step > STEP * growth || largest_quarter > QUARTER * growth {
        // Random steps may come close together: more than one must be seen elsewhere too.
        let others = quarters.iter().filter(|&&quarter| quarter > PAUSE * growth).count();
        if largest_step > STEP * growth || others < 3 {
            return (
                Verdict::OneOff,
                "most of its growth came at once, and stayed".to_owned(),
                Some(confidence),
            );
        }
        return cannot_tell(
            "most of its growth came in one quarter of the time; record for longer",
        );
    }
    let slower = slower_at_end(level);
    if slower >= 1.0 - 2.0 * TAIL && !(shape.warm_up_s == 0.0 && is_slower_by_chance(level)) {
        return (Verdict::Filling, "it grows more slowly towards its end".to_owned(), Some(slower));
    }
    let (first, last) = level.split_at(level.len() / 2);
    let is_slower = theil_sen(last) < SLOWER * theil_sen(first) || is_much_slower(level);
    if is_slower && (shape.warm_up_s > 0.0 || !is_slower_by_chance(level)) {
        return cannot_tell("it may grow more slowly towards its end; record for longer");
    }
    // What is left of bursts that become fewer behind a warm-up is too little to see that they do.
    let least = if shape.warm_up_s > 0.0 { GROWING_AFTER_WARM_UP } else { GROWING };
    if (growing_blocks(&envelope) as f64) < least * level.len() as f64 {
        return cannot_tell("it grows in few steps; record for longer");
    }
    if growth < MIN_CHANGES * spread(level) {
        return cannot_tell("its growth is small beside its slow changes; record for longer");
    }
    if shape.is_all_warm_up {
        return cannot_tell("it still warms up; record for three times as long");
    }
    if quarters.iter().any(|&quarter| quarter < PAUSE * growth / 4.0) {
        return cannot_tell("it grows with pauses; record for longer");
    }
    if shape.is_cyclic && growth < WITHIN_SWING * shape.swings.swing {
        return cannot_tell("its growth is small beside its swings; record for longer");
    }
    (Verdict::Leaks, "it grows all the time, and no slower at its end".to_owned(), Some(confidence))
}

fn tail(ascending: &[f64], share: f64) -> f64 {
    quantile(&mut ascending.to_vec(), share)
}

fn rate(points: &[Point], slopes: &[f64], each: f64) -> Rate {
    Rate {
        rate: theil_sen(points) * each,
        lower: tail(slopes, TAIL) * each,
        upper: tail(slopes, 1.0 - TAIL) * each,
    }
}

/// The rate by cycle: the level of each block over the cycle at its middle.
fn by_cycle(samples: &[Sample], shape: &Shape) -> Option<Rate> {
    let known: Vec<Point> = samples
        .iter()
        .filter_map(|sample| Some(Point { x: sample.time_s, y: sample.cycle? }))
        .collect();
    let cycle_at = |time_s: f64| {
        let at = known.partition_point(|point| point.x < time_s);
        let after = known.get(at)?;
        let before = known.get(at.saturating_sub(1))?;
        let distance = after.x - before.x;
        let share = if distance > 0.0 { (time_s - before.x) / distance } else { 0.0 };
        Some(before.y + share * (after.y - before.y))
    };
    let points: Vec<Point> = shape
        .level
        .iter()
        .filter_map(|point| Some(Point { x: cycle_at(point.x)?, y: point.y }))
        .collect();
    let moves = points.first()?.x < points.last()?.x;
    (moves && points.len() >= MIN_BLOCKS).then(|| rate(&points, &resampled_slopes(&points, 2), 1.0))
}

/// At each point, the level below which it never falls again.
fn envelope(level: &[Point]) -> Vec<Point> {
    // A fall of two blocks, such as a swap-out while it is counted, is no end of what was before.
    let smooth: Vec<Point> = (0..level.len())
        .filter_map(|at| {
            let around = at.min(level.len() - 1 - at).min(2);
            let mut near: Vec<f64> =
                level.get(at - around..=at + around)?.iter().map(|point| point.y).collect();
            Some(Point { x: level.get(at)?.x, y: quantile(&mut near, 0.5) })
        })
        .collect();
    let mut least = f64::INFINITY;
    let mut envelope: Vec<Point> = smooth
        .iter()
        .rev()
        .map(|point| {
            least = least.min(point.y);
            Point { x: point.x, y: least }
        })
        .collect();
    envelope.reverse();
    envelope
}

/// The distances of neighbours.
fn steps_of(level: &[Point]) -> Vec<f64> {
    level.iter().zip(level.iter().skip(1)).map(|(a, b)| (b.y - a.y).abs()).collect()
}

fn rise(envelope: &[Point]) -> f64 {
    match envelope {
        [first, .., last] => last.y - first.y,
        _ => 0.0,
    }
}

/// The number of blocks that have nine tenths of the growth.
fn growing_blocks(envelope: &[Point]) -> usize {
    let mut steps = steps_of(envelope);
    steps.sort_by(|one, other| other.total_cmp(one));
    let most = 0.9 * rise(envelope);
    let mut sum = 0.0;
    1 + steps
        .iter()
        .take_while(|step| {
            sum += *step;
            sum < most
        })
        .count()
}

/// The growth in each quarter of the time, by a line between neighbours.
fn quarters(envelope: &[Point]) -> [f64; 4] {
    let (Some(first), Some(last)) = (envelope.first(), envelope.last()) else { return [0.0; 4] };
    let at = |share: f64| {
        let x = first.x + share * (last.x - first.x);
        let after = envelope.partition_point(|point| point.x < x);
        let (Some(b), Some(a)) = (envelope.get(after), envelope.get(after.saturating_sub(1)))
        else {
            return last.y;
        };
        let distance = b.x - a.x;
        let part = if distance > 0.0 { (x - a.x) / distance } else { 0.0 };
        a.y + part * (b.y - a.y)
    };
    let ends = [0.0, 0.25, 0.5, 0.75, 1.0].map(at);
    let [a, b, c, d, e] = ends;
    [b - a, c - b, d - c, e - d]
}

/// The steps from block to block, of each half.
fn halves(level: &[Point]) -> [Vec<f64>; 2] {
    let steps: Vec<f64> = level.iter().zip(level.iter().skip(1)).map(|(a, b)| b.y - a.y).collect();
    let (first, last) = steps.split_at(steps.len() / 2);
    [first.to_vec(), last.to_vec()]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

/// Returns whether the last half grows by so much less than the first that chance is no explanation.
fn is_much_slower(level: &[Point]) -> bool {
    let [first, last] = halves(level);
    mean(&last) < MUCH_SLOWER * mean(&first)
}

/// Returns whether it grows in bursts, of which the first half may have had more by chance: what bursts leave is alike
/// for long, so that the resamples of a line say too little of them.
fn is_slower_by_chance(level: &[Point]) -> bool {
    let [first, last] = halves(level);
    let steps = first.iter().chain(&last);
    // Of noise, as many steps lead down; what fills evenly has steps like those before.
    let down: f64 = steps.clone().filter(|step| **step < 0.0).map(|step| step.abs()).sum();
    let up: f64 = steps.filter(|step| **step > 0.0).sum();
    let changes: Vec<f64> =
        first.iter().zip(first.iter().skip(1)).map(|(a, b)| (b - a).powi(2)).collect();
    if down > MOST_DOWN * up
        || mean(&changes).sqrt() < BURST * mean(&first)
        || is_much_slower(level)
    {
        return false;
    }
    let error = (SLOWER.powi(2) * variance(&first) / first.len().max(1) as f64
        + variance(&last) / last.len().max(1) as f64)
        .sqrt();
    SLOWER * mean(&first) - mean(&last) < Z * error
}

/// How far blocks are from the line, as a standard deviation.
fn spread(level: &[Point]) -> f64 {
    let slope = theil_sen(level);
    let residuals: Vec<f64> = level.iter().map(|point| point.y - slope * point.x).collect();
    variance(&residuals).sqrt()
}

/// The share of resamples in which the last half is slower than what counts as no slower.
fn slower_at_end(level: &[Point]) -> f64 {
    let (first, last) = level.split_at(level.len() / 2);
    let (first, mut last) = (resampled_slopes(first, 3), resampled_slopes(last, 4));
    // Independent of each other.
    fastrand::Rng::with_seed(RESAMPLES as u64).shuffle(&mut last);
    let slower = first.iter().zip(&last).filter(|&(first, last)| *last < SLOWER * first).count();
    slower as f64 / first.len().max(1) as f64
}
