//! What this program costs itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time over which the CPU time is averaged.
const OVER: Duration = Duration::from_secs(10);

/// The CPU time of this program over the last seconds.
#[derive(Debug, Default)]
pub struct OwnCost {
    readings: VecDeque<(Instant, Duration)>,
}

impl OwnCost {
    /// Reads the CPU time.
    pub fn read(&mut self) {
        let now = Instant::now();
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        );
        self.readings.push_back((now, cpu));
        while self.readings.get(1).is_some_and(|next| now.duration_since(next.0) >= OVER) {
            self.readings.pop_front();
        }
    }

    /// Returns the part of one CPU that was used, in percent; `None` before two readings.
    #[must_use]
    pub fn cpu_percent(&self) -> Option<f64> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        let elapsed = last.0.duration_since(first.0).as_secs_f64();
        let used = last.1.saturating_sub(first.1).as_secs_f64();
        (elapsed > 0.0).then(|| used / elapsed * 100.0)
    }
}

/// Returns the resident set of this program, in bytes.
#[must_use]
pub fn own_rss_bytes() -> Option<u64> {
    let statm = std::fs::read("/proc/self/statm").ok()?;
    let pages = memsample::parse::parse_statm(&statm).ok()?.resident;
    memsample::Host::current().bytes(pages)
}
