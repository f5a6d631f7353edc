//! Series of known truth: an hour of 1800 samples around 100 MiB.

use std::f64::consts::TAU;

use memsample_leaks::{Sample, Series};

/// A name, and how it is made: memory as a share of 100 MiB at each share of the time.
pub(crate) type Kind = (&'static str, fn(&mut Random, &[f64]) -> Vec<f64>);

/// Thresholds were never chosen by these.
pub(crate) const HELD_BACK: &[&str] = &[
    "two roles trade memory",
    "counter error",
    "huge pages collapse at the begin",
    "two steps",
    "work comes in waves",
    "leak with counter error",
    "leak under a growing target",
    "leak in small steps",
];

pub(crate) const HEALTHY: &[Kind] = &[
    ("noise", |r, t| noise(r, t, 0.01)),
    ("constant", |_, t| t.iter().map(|_| 1.0).collect()),
    ("long noise", |r, t| correlated(r, t, 0.02, 0.05)),
    ("warm-up, then level", |r, t| add(noise(r, t, 0.005), t, |t| 0.5 * (t / 0.2).min(1.0))),
    ("fills, time constant 0.1", |r, t| {
        add(noise(r, t, 0.003), t, |t| 0.5 * (1.0 - (-t / 0.1).exp()))
    }),
    ("fills, time constant 0.2", |r, t| {
        add(noise(r, t, 0.003), t, |t| 0.5 * (1.0 - (-t / 0.2).exp()))
    }),
    ("cache with a bound", |r, t| {
        let full = r.between(0.2, 0.6);
        add(noise(r, t, 0.003), t, |t| 0.4 * (t / full).min(1.0))
    }),
    ("fills in bursts", |r, t| {
        let mut level = 0.0;
        let mut values = noise(r, t, 0.004);
        for (value, t) in values.iter_mut().zip(t) {
            if r.uniform() < 40.0 / 1800.0 * 5.0 * (-t / 0.2).exp() {
                level += 0.01 * (0.5 + r.uniform());
            }
            *value += level;
        }
        values
    }),
    ("one step", |r, t| {
        let at = r.between(0.2, 0.8);
        add(noise(r, t, 0.005), t, |t| if t > at { 0.3 } else { 0.0 })
    }),
    ("one step that takes its time", |r, t| {
        let at = r.between(0.2, 0.7);
        add(noise(r, t, 0.005), t, |t| 0.3 * ((t - at) / 0.08).clamp(0.0, 1.0))
    }),
    ("garbage collection", |r, t| {
        let period = r.between(0.008, 0.02);
        let phase = r.between(0.0, 1.0);
        add(noise(r, t, 0.005), t, |t| 0.4 * (t / period + phase).fract())
    }),
    ("garbage collection, few", |r, t| {
        let period = r.between(0.07, 0.25);
        let phase = r.between(0.0, 1.0);
        add(noise(r, t, 0.005), t, |t| 0.4 * (t / period + phase).fract())
    }),
    ("garbage collection with a growing target", |r, t| {
        let period = r.between(0.01, 0.02);
        add(noise(r, t, 0.005), t, |t| (0.3 + 0.5 * t) * (t / period).fract())
    }),
    ("restarts", |r, t| {
        let period = r.between(0.1, 0.3);
        let phase = r.between(0.0, 1.0);
        add(noise(r, t, 0.005), t, |t| -0.8 * (-(t / period + phase).fract() / 0.1).exp())
    }),
    ("requests", |r, t| {
        let mut left = 0;
        let mut values = noise(r, t, 0.005);
        for value in &mut values {
            if left == 0 && r.uniform() < 0.02 {
                left = 1 + (r.uniform() * 20.0) as usize;
            }
            *value += if left > 0 { 0.2 } else { 0.0 };
            left = left.saturating_sub(1);
        }
        values
    }),
    ("swap-out in the middle", |r, t| {
        add(noise(r, t, 0.005), t, |t| if (0.5..0.53).contains(&t) { -0.3 } else { 0.0 })
    }),
    ("falls", |r, t| add(noise(r, t, 0.005), t, |t| -0.2 * t)),
    ("two roles trade memory", |r, t| {
        let period = r.between(0.2, 0.4);
        let phase = r.between(0.0, 1.0);
        add(noise(r, t, 0.005), t, |t| 0.3 * (2.0 * (t / period + phase).fract() - 1.0).abs())
    }),
    ("counter error", |r, t| {
        let mut values = correlated(r, t, 0.004, 0.02);
        values.iter_mut().for_each(|value| *value = (*value * 800.0).round() / 800.0);
        values
    }),
    ("huge pages collapse at the begin", |r, t| {
        let at: Vec<f64> = (0..20).map(|_| -0.06 * r.uniform().max(1e-9).ln()).collect();
        add(noise(r, t, 0.002), t, |t| 0.02 * at.iter().filter(|&&at| at < t).count() as f64)
    }),
    ("two steps", |r, t| {
        let (a, b) = (r.between(0.1, 0.45), r.between(0.55, 0.9));
        add(noise(r, t, 0.005), t, |t| 0.15 * f64::from(u8::from(t > a) + u8::from(t > b)))
    }),
    ("work comes in waves", |r, t| {
        let (period, phase) = (r.between(0.2, 0.5), r.uniform());
        add(noise(r, t, 0.01), t, |t| 0.15 * (TAU * (t / period + phase)).sin())
    }),
];

pub(crate) const LEAKING: &[Kind] = &[
    ("linear", |r, t| add(noise(r, t, 0.01), t, |t| 0.15 * t)),
    ("slow", |r, t| add(noise(r, t, 0.005), t, |t| 0.03 * t)),
    ("under long noise", |r, t| add(correlated(r, t, 0.01, 0.02), t, |t| 0.2 * t)),
    ("after warm-up", |r, t| {
        let end = r.between(0.05, 0.3);
        add(noise(r, t, 0.005), t, |t| 0.5 * (t / end).min(1.0) + 0.15 * t)
    }),
    ("after filling", |r, t| {
        add(noise(r, t, 0.003), t, |t| 0.4 * (1.0 - (-t / 0.05).exp()) + 0.2 * t)
    }),
    ("random bursts", |r, t| {
        let mut level = 0.0;
        let mut values = noise(r, t, 0.004);
        for value in &mut values {
            if r.uniform() < 30.0 / 1800.0 {
                level += 0.01 * (0.5 + r.uniform());
            }
            *value += level;
        }
        values
    }),
    ("under garbage collection", |r, t| {
        let period = r.between(0.008, 0.02);
        let phase = r.uniform();
        add(noise(r, t, 0.005), t, |t| 0.4 * (t / period + phase).fract() + 0.15 * t)
    }),
    ("under requests", |r, t| {
        let mut values = noise(r, t, 0.005);
        for (value, t) in values.iter_mut().zip(t) {
            *value += 0.15 * t + if r.uniform() < 0.1 { 0.1 } else { 0.0 };
        }
        values
    }),
    ("faster and faster", |r, t| add(noise(r, t, 0.005), t, |t| 0.1 * t + 0.2 * t * t)),
    ("swap-out in the middle of a leak", |r, t| {
        add(noise(r, t, 0.005), t, |t| 0.2 * t - if (0.5..0.52).contains(&t) { 0.2 } else { 0.0 })
    }),
    ("leak with counter error", |r, t| {
        let mut values = add(correlated(r, t, 0.004, 0.02), t, |t| 0.1 * t);
        values.iter_mut().for_each(|value| *value = (*value * 800.0).round() / 800.0);
        values
    }),
    ("leak under a growing target", |r, t| {
        let period = r.between(0.01, 0.02);
        add(noise(r, t, 0.005), t, |t| (0.3 + 0.3 * t) * (t / period).fract() + 0.2 * t)
    }),
    ("leak in small steps", |r, t| add(noise(r, t, 0.003), t, |t| 0.01 * (t * 20.0).floor())),
    ("leak with a gap", |r, t| add(noise(r, t, 0.005), t, |t| 0.15 * t)),
];

/// Makes the series of a kind and a seed.
pub(crate) fn series(kind: &Kind, seed: u64) -> Series {
    let times: Vec<f64> = (0..1800)
        .map(|at| f64::from(at) / 1800.0)
        .filter(|t| !kind.0.ends_with("gap") || !(0.4..0.55).contains(t))
        .collect();
    let mut random = Random(fastrand::Rng::with_seed(seed));
    let values = (kind.1)(&mut random, &times);
    let samples = times.iter().zip(values).map(|(t, value)| Sample {
        time_s: 3600.0 * t,
        bytes: (value.max(0.0) * 100.0 * 1024.0 * 1024.0 / 4096.0).round() * 4096.0,
        cycle: None,
    });
    Series::new(samples.collect()).expect("times ascend")
}

/// Seeded random numbers.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0.f64()
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn gauss(&mut self) -> f64 {
        (-2.0 * self.uniform().max(1e-300).ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

fn noise(random: &mut Random, times: &[f64], size: f64) -> Vec<f64> {
    times.iter().map(|_| 1.0 + size * random.gauss()).collect()
}

/// Noise that is alike for a share of the time.
fn correlated(random: &mut Random, times: &[f64], size: f64, share: f64) -> Vec<f64> {
    let keep = (-1.0 / (share * times.len() as f64)).exp();
    let mut state = random.gauss();
    times
        .iter()
        .map(|_| {
            state = keep * state + (1.0 - keep * keep).sqrt() * random.gauss();
            1.0 + size * state
        })
        .collect()
}

fn add(mut values: Vec<f64>, times: &[f64], what: impl Fn(f64) -> f64) -> Vec<f64> {
    values.iter_mut().zip(times).for_each(|(value, &t)| *value += what(t));
    values
}
