//! Sums of memory over time, of any groups of process images.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::RangeInclusive;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::composition::known;
use super::lifetimes::ticks;
use crate::recording::{Recording, numbers};

/// Ticks whose sums are kept at a time: seven minutes at ten per second.
const MAX_TICKS: usize = 4096;

/// Sums over the processes of a group that were sampled at one tick, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySums {
    /// The number of processes with a sample.
    pub processes: u32,
    /// Resident sets. A page that several processes map counts for each.
    pub rss_bytes: u64,
    /// Resident anonymous memory, without that of processes of which it was not read.
    pub anon_bytes: u64,
    /// Anonymous memory in swap, by the last reading of each process. It is read less often than the others; a process of
    /// which it was never read counts as nothing.
    pub swap_bytes: u64,
}

/// The memory of one group at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMemory {
    /// The planned instant of the tick, in milliseconds since 1970.
    pub ts_ms: i64,
    /// The group, as the caller numbered it.
    pub group: usize,
    /// The sums over its processes.
    pub sums: MemorySums,
}

/// Adds up the samples of groups of process images tick by tick.
///
/// `groups_of` has the groups of each image by its key `processes.process`; an image may be of several.
/// `visit` is called for each group that has at least one sample at a tick, in the order of time, and at one tick in the
/// order of the groups. Ticks at which a group has no sample are left out: [`tick_instants`] has them.
///
/// The memory that it needs grows with the number of groups, not with the length of the recording.
///
/// # Errors
///
/// A table cannot be read.
pub fn sums_over_time(
    recording: &Recording,
    groups_of: &HashMap<u64, Vec<usize>>,
    visit: impl FnMut(GroupMemory),
) -> io::Result<()> {
    sums_between(recording, groups_of, i64::MIN..=i64::MAX, visit)
}

/// The same of the ticks within a span of time, in milliseconds since 1970. Swap that was read before it counts as
/// nothing.
///
/// # Errors
///
/// A table cannot be read.
pub fn sums_between(
    recording: &Recording,
    groups_of: &HashMap<u64, Vec<usize>>,
    span: RangeInclusive<i64>,
    mut visit: impl FnMut(GroupMemory),
) -> io::Result<()> {
    let mut swap_of: HashMap<u64, u64> = HashMap::new();
    let mut ticks = ticks(recording)?;
    ticks.retain(|tick| span.contains(tick));
    for ticks in ticks.chunks(MAX_TICKS) {
        for ((ts_ms, group), sums) in sums_at(recording, groups_of, ticks, &mut swap_of)? {
            visit(GroupMemory { ts_ms, group, sums });
        }
    }
    Ok(())
}

/// Adds up the samples of some ticks. `swap_of` has the last known swap of each image.
fn sums_at(
    recording: &Recording,
    groups_of: &HashMap<u64, Vec<usize>>,
    ticks: &[i64],
    swap_of: &mut HashMap<u64, u64>,
) -> io::Result<BTreeMap<(i64, usize), MemorySums>> {
    const COLUMNS: [&str; 5] = ["ts", "process", "rss_bytes", "anon_bytes", "swap_bytes"];
    let mut sums: BTreeMap<(i64, usize), MemorySums> = BTreeMap::new();
    let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else { return Ok(sums) };
    for batch in recording.read_table_between("samples", &COLUMNS, first..=last) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (rss, anon, swap) =
            (number("rss_bytes")?, number("anon_bytes")?, number("swap_bytes")?);
        for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
            let process = process.unsigned_abs();
            let Some(groups) = groups_of.get(&process) else { continue };
            if !(first..=last).contains(&ts_ms) {
                continue;
            }
            if let Some(bytes) = known(swap, row) {
                swap_of.insert(process, bytes);
            }
            let swap_bytes = swap_of.get(&process).copied().unwrap_or(0);
            for &group in groups {
                let sum = sums.entry((ts_ms, group)).or_default();
                sum.processes = sum.processes.saturating_add(1);
                sum.rss_bytes = sum.rss_bytes.saturating_add(known(rss, row).unwrap_or(0));
                sum.anon_bytes = sum.anon_bytes.saturating_add(known(anon, row).unwrap_or(0));
                sum.swap_bytes = sum.swap_bytes.saturating_add(swap_bytes);
            }
        }
    }
    Ok(sums)
}

/// The instant of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickInstant {
    /// The planned instant, in milliseconds since 1970.
    pub ts_ms: i64,
    /// The number of ticks right before it that were late or missed.
    pub late: u32,
}

/// Returns all ticks in the order of time.
///
/// # Errors
///
/// The table cannot be read.
pub fn tick_instants(recording: &Recording) -> io::Result<Vec<TickInstant>> {
    let mut instants = Vec::new();
    for batch in recording.read_table("ticks", &["ts", "late"]) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let late = numbers::<Int32Type>(&batch, "late")?.values();
        instants.extend(
            ts.iter()
                .zip(late)
                .map(|(&ts_ms, late)| TickInstant { ts_ms, late: late.unsigned_abs() }),
        );
    }
    instants.sort_unstable_by_key(|instant| instant.ts_ms);
    Ok(instants)
}
