//! How a recording was sampled, and what it lacks.

use std::io;

use memsample::analysis::{TickInstant, tick_instants};
use memsample::{Recording, Totals};

/// How a recording was sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// The planned time from one tick to the next, in milliseconds.
    pub interval_ms: u64,
    /// Ticks that were written.
    pub ticks: u64,
    /// The longest time between two ticks, in milliseconds, and when it began.
    pub longest_gap: Option<(i64, i64)>,
    /// What the recording has and lacks.
    pub totals: Totals,
}

impl Sampling {
    /// Reads the ticks of a recording.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub fn read(recording: &Recording) -> io::Result<Self> {
        let ticks = tick_instants(recording)?;
        let manifest = recording.manifest();
        Ok(Self {
            interval_ms: manifest.provenance.settings.interval_ms,
            ticks: ticks.len() as u64,
            longest_gap: longest_gap(&ticks),
            totals: manifest.totals,
        })
    }
}

fn longest_gap(ticks: &[TickInstant]) -> Option<(i64, i64)> {
    let gaps = ticks.iter().zip(ticks.iter().skip(1));
    let gaps = gaps.map(|(before, after)| (after.ts_ms - before.ts_ms, before.ts_ms));
    // Of equal ones the first.
    gaps.reduce(|longest, next| if next.0 > longest.0 { next } else { longest })
}
