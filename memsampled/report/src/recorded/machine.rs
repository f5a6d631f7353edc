//! The memory of the machine over time, and how much time tasks waited for it.

use std::io;

use arrow_array::types::TimestampMillisecondType as Millisecond;
use memsample::Recording;
use memsample::columns::{known, numbers};

use crate::curve::{Curve, M4, Point};

/// Spans of time of which points are kept.
const BUCKETS: usize = 4000;
/// A line ends where the next row is further away.
const GAP_MS: i64 = 2_500;

/// The memory of the machine. What the kernel does not tell is `None`.
#[derive(Clone, Debug)]
pub struct MachineMemory {
    /// All memory that the kernel manages, in bytes.
    pub total_bytes: Option<u64>,
    /// What a new program could not have taken without swapping: all memory less what is available, in bytes.
    pub used: Curve<()>,
    /// The share of time in which some task waited for memory, since the row before, in 1/10000.
    pub pressure: Curve<()>,
    /// Whether the kernel tells the pressure.
    pub has_pressure: bool,
    /// Time in which some task waited, over the whole recording, in microseconds.
    pub waited_us: Option<u64>,
    /// All swap space, in bytes.
    pub swap_total_bytes: Option<u64>,
    /// The most swap in use, in bytes, and when.
    pub swap_used: Option<(u64, i64)>,
    /// Processes that the OOM killer killed meanwhile, on the whole host.
    pub oom_kills: Option<u64>,
}

/// A row of `system`.
struct Row {
    ts_ms: i64,
    total: Option<u64>,
    available: Option<u64>,
    swap_total: Option<u64>,
    swap_free: Option<u64>,
    some_us: Option<u64>,
    oom_kill: Option<u64>,
}

impl MachineMemory {
    /// Reads the table `system` of a recording whose ticks are between two instants.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub fn read(recording: &Recording, begin_ms: i64, end_ms: i64) -> io::Result<Self> {
        const COLUMNS: [&str; 7] = [
            "ts",
            "mem_total_bytes",
            "mem_available_bytes",
            "swap_total_bytes",
            "swap_free_bytes",
            "psi_some_us",
            "oom_kill",
        ];
        let interval_ms = recording.manifest().provenance.settings.interval_ms;
        let gap_ms = i64::try_from(interval_ms.saturating_mul(5) / 2).unwrap_or(GAP_MS);
        let mut collected = Collected::new(begin_ms, end_ms, gap_ms.max(GAP_MS));
        for batch in recording.read_table("system", &COLUMNS) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?;
            let number = |name| numbers(&batch, name).ok();
            let [total, available] = ["mem_total_bytes", "mem_available_bytes"].map(number);
            let [swap_total, swap_free] = ["swap_total_bytes", "swap_free_bytes"].map(number);
            let [some, oom_kill] = ["psi_some_us", "oom_kill"].map(number);
            // Older recordings lack some of these.
            let known = |column: Option<&_>, row| column.and_then(|column| known(column, row));
            for (row, ts_ms) in ts.values().iter().enumerate() {
                collected.take(Row {
                    ts_ms: *ts_ms,
                    total: known(total, row),
                    available: known(available, row),
                    swap_total: known(swap_total, row),
                    swap_free: known(swap_free, row),
                    some_us: known(some, row),
                    oom_kill: known(oom_kill, row),
                });
            }
        }
        Ok(collected.finish())
    }
}

struct Collected {
    gap_ms: i64,
    memory: MachineMemory,
    used: M4<()>,
    pressure: M4<()>,
    before: Option<Row>,
    first_some_us: Option<u64>,
    first_oom_kill: Option<u64>,
}

impl Collected {
    fn new(begin_ms: i64, end_ms: i64, gap_ms: i64) -> Self {
        Self {
            gap_ms,
            memory: MachineMemory {
                total_bytes: None,
                used: Curve { lines: Vec::new() },
                pressure: Curve { lines: Vec::new() },
                has_pressure: false,
                waited_us: None,
                swap_total_bytes: None,
                swap_used: None,
                oom_kills: None,
            },
            used: M4::new(begin_ms, end_ms, BUCKETS),
            pressure: M4::new(begin_ms, end_ms, BUCKETS),
            before: None,
            first_some_us: None,
            first_oom_kill: None,
        }
    }

    fn take(&mut self, row: Row) {
        let ts_ms = row.ts_ms;
        let since_ms = self.before.as_ref().map(|before| ts_ms - before.ts_ms);
        if since_ms.is_some_and(|since_ms| since_ms > self.gap_ms) {
            self.used.cut();
            self.pressure.cut();
        }
        let memory = &mut self.memory;
        memory.total_bytes = row.total.or(memory.total_bytes);
        if let (Some(total), Some(available)) = (row.total, row.available) {
            let value = total.saturating_sub(available);
            self.used.push(Point { ts_ms, value, row: () });
        }
        memory.swap_total_bytes = row.swap_total.or(memory.swap_total_bytes);
        if let (Some(total), Some(free)) = (row.swap_total, row.swap_free) {
            let used = total.saturating_sub(free);
            if memory.swap_used.is_none_or(|(most, _)| used > most) {
                memory.swap_used = Some((used, ts_ms));
            }
        }
        if let Some(some_us) = row.some_us {
            memory.has_pressure = true;
            let first = *self.first_some_us.get_or_insert(some_us);
            memory.waited_us = Some(some_us.saturating_sub(first));
        }
        if let Some(kills) = row.oom_kill {
            let first = *self.first_oom_kill.get_or_insert(kills);
            memory.oom_kills = Some(kills.saturating_sub(first));
        }
        let before = self.before.as_ref();
        if let Some(before) = before
            && let Some(value) = share(before.some_us, row.some_us, since_ms)
        {
            self.pressure.push(Point { ts_ms, value, row: () });
        }
        self.before = Some(row);
    }

    fn finish(self) -> MachineMemory {
        let (used, pressure) = (self.used.finish(), self.pressure.finish());
        MachineMemory { used, pressure, ..self.memory }
    }
}

/// Returns the share of time between two readings of a counter of microseconds, in 1/10000.
fn share(before_us: Option<u64>, now_us: Option<u64>, since_ms: Option<i64>) -> Option<u64> {
    let since_us = u64::try_from(since_ms?).ok()?.checked_mul(1000)?;
    let waited_us = now_us?.saturating_sub(before_us?);
    Some((u128::from(waited_us) * 10_000).checked_div(since_us.into())?.min(10_000) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_between_two_rows() {
        assert_eq!(share(Some(1000), Some(51_000), Some(100)), Some(5000));
        // The counter of the kernel runs a little ahead of the planned instants.
        assert_eq!(share(Some(0), Some(101_000), Some(100)), Some(10_000));
        assert_eq!(share(None, Some(1), Some(100)), None);
        assert_eq!(share(Some(0), Some(1), Some(0)), None);
    }

    #[test]
    fn what_is_used_is_not_available() {
        let mut collected = Collected::new(0, 300, 250);
        let row = |ts_ms, available, some_us| Row {
            ts_ms,
            total: Some(1000),
            available: Some(available),
            swap_total: Some(100),
            swap_free: Some(100 - ts_ms.unsigned_abs() / 10),
            some_us: Some(some_us),
            oom_kill: Some(7 + ts_ms.unsigned_abs() / 300),
        };
        for (ts_ms, available, some_us) in [(0, 900, 5), (100, 300, 10_005), (300, 800, 10_005)] {
            collected.take(row(ts_ms, available, some_us));
        }
        let memory = collected.finish();
        assert_eq!(memory.used.peak().map(|point| (point.ts_ms, point.value)), Some((100, 700)));
        assert_eq!(memory.pressure.peak().map(|point| point.value), Some(1000));
        assert_eq!((memory.waited_us, memory.oom_kills), (Some(10_000), Some(1)));
        assert_eq!(memory.swap_used, Some((30, 300)));
    }
}
