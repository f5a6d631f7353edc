//! The spans of time in which the processes were read at each tick: who begins or ends meanwhile is in some
//! readings and not in others.

use std::io;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};

use super::sampled_image::SampledImage;
use crate::columns::numbers;
use crate::recording::Recording;

/// When the processes were read at each tick.
pub(super) struct SweepWindows(Vec<SweepWindow>);

/// The time of one sweep, in nanoseconds since boot. Resident sets are read first, and PSS after them.
#[derive(Clone, Copy, Debug)]
struct SweepWindow {
    ts_ms: i64,
    began_ns: u64,
    ended_ns: u64,
}

impl SweepWindows {
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let mut windows = Vec::new();
        for batch in recording.read_table("ticks", &["ts", "began_ns", "duration_us"]) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let began = numbers::<Int64Type>(&batch, "began_ns")?.values();
            let duration = numbers::<Int64Type>(&batch, "duration_us")?.values();
            for ((&ts_ms, began), duration) in ts.iter().zip(began).zip(duration) {
                let began_ns = began.unsigned_abs();
                // It is cut to whole microseconds.
                let duration_ns = duration.unsigned_abs().saturating_add(1).saturating_mul(1000);
                let ended_ns = began_ns.saturating_add(duration_ns);
                windows.push(SweepWindow { ts_ms, began_ns, ended_ns });
            }
        }
        windows.sort_unstable_by_key(|window| window.ts_ms);
        Ok(Self(windows))
    }

    /// Returns whether an image may have ended while the processes were read at its last tick.
    ///
    /// The exit record is made before the memory is given back. Without one, and after an exec, the end is somewhere
    /// before the next tick.
    pub(super) fn may_have_ended_in(&self, image: &SampledImage) -> bool {
        let row = &image.row;
        if row.samples == 0 || !row.ended {
            return false;
        }
        // Its last sample was of another program than its exit.
        let is_replaced = row.exit_hwm_bytes.zip(row.rss_peak_bytes);
        if is_replaced.is_some_and(|(exit_bytes, seen_bytes)| exit_bytes < seen_bytes) {
            return true;
        }
        let window = self.0.binary_search_by_key(&row.last_ms, |window| window.ts_ms);
        let window = window.ok().and_then(|index| self.0.get(index));
        match (window, image.exit_ns) {
            // The instant of the exit may be a clock tick later.
            (Some(window), Some(exit_ns)) => exit_ns <= window.ended_ns,
            _ => true,
        }
    }

    /// Returns the ticks at which a process may have lived while others were read, without a sample of its own.
    /// `first_ms` is its first sample.
    pub(super) fn unsampled_at(
        &self,
        (begin_ns, end_ns): (u64, u64),
        first_ms: Option<i64>,
    ) -> impl Iterator<Item = i64> {
        let from = self.0.partition_point(|window| window.ended_ns < begin_ns);
        let later = self.0.get(from..).unwrap_or_default().iter();
        later
            .take_while(move |window| {
                window.began_ns <= end_ns && first_ms.is_none_or(|first_ms| window.ts_ms < first_ms)
            })
            .map(|window| window.ts_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::ImageRow;

    const MS: u64 = 1_000_000;

    /// Sweeps of 10 ms, every 100 ms.
    fn windows() -> SweepWindows {
        let window = |ts_ms: i64| {
            let began_ns = ts_ms.unsigned_abs() * MS;
            SweepWindow { ts_ms, began_ns, ended_ns: began_ns + 10 * MS }
        };
        SweepWindows(vec![window(100), window(200), window(300)])
    }

    #[test]
    fn an_end_is_within_a_sweep_unless_it_is_known_to_be_later() {
        let ends = |exit_ms: Option<u64>, ended| {
            let row = ImageRow { samples: 2, last_ms: 200, ended, ..ImageRow::unseen(0, 1, 0) };
            let exit_ns = exit_ms.map(|exit_ms| exit_ms * MS);
            windows().may_have_ended_in(&SampledImage { exit_ns, ..SampledImage::new(row) })
        };
        assert!(ends(Some(205), true));
        assert!(!ends(Some(211), true));
        // By an exec, or nobody told of its exit.
        assert!(ends(None, true));
        // It outlived the recording.
        assert!(!ends(None, false));
    }

    #[test]
    fn who_lives_within_a_sweep_without_a_sample_is_found() {
        let at = |begin_ms: u64, end_ms: u64, first_ms| -> Vec<i64> {
            windows().unsampled_at((begin_ms * MS, end_ms * MS), first_ms).collect()
        };
        assert_eq!(at(203, 206, None), [200]);
        assert_eq!(at(150, 206, None), [200]);
        assert_eq!(at(111, 199, None), [0_i64; 0]);
        assert_eq!(at(150, 350, None), [200, 300]);
        // Forked within the sweep, and sampled from the next one on.
        assert_eq!(at(205, 900, Some(300)), [200]);
        assert_eq!(at(150, 900, Some(200)), [0_i64; 0]);
    }
}
