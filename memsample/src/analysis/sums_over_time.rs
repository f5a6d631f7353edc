//! Sums of memory over time, of any groups of process images.

use std::collections::HashMap;
use std::io;
use std::ops::{AddAssign, RangeInclusive};

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::lifetimes::ticks;
use super::tick_series::{TickCursor, TickSeries};
use crate::columns::{known, numbers};
use crate::recording::Recording;

/// Ticks whose sums are kept at a time: half an hour at ten per second. A row group that reaches over an end of them is
/// read twice.
const MAX_TICKS: usize = 16_384;

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

impl AddAssign for MemorySums {
    /// Adds up each of them; what does not fit into the integer becomes the largest one.
    fn add_assign(&mut self, other: Self) {
        self.processes = self.processes.saturating_add(other.processes);
        self.rss_bytes = self.rss_bytes.saturating_add(other.rss_bytes);
        self.anon_bytes = self.anon_bytes.saturating_add(other.anon_bytes);
        self.swap_bytes = self.swap_bytes.saturating_add(other.swap_bytes);
    }
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
/// `groups_of` has the groups of each image by its key `processes.process`; an image may be of several. Groups are
/// numbered from 0 on, since each number up to the largest takes some memory.
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
        let series = sums_at(recording, groups_of, ticks, &mut swap_of)?;
        for (tick, &ts_ms) in ticks.iter().enumerate() {
            for (group, series) in &series {
                let sums = series.at(tick).filter(|sums| sums.processes > 0);
                if let Some(&sums) = sums {
                    visit(GroupMemory { ts_ms, group: *group, sums });
                }
            }
        }
    }
    Ok(())
}

/// The image whose samples are being added. They follow each other, so that it is looked up once.
struct Image<'a> {
    process: u64,
    groups: &'a [usize],
    swap_bytes: Option<u64>,
    cursor: TickCursor<'a>,
}

/// Adds up the samples of some ticks, and returns the sums of each group in the order of groups. `swap_of` has the last
/// known swap of each image.
fn sums_at(
    recording: &Recording,
    groups_of: &HashMap<u64, Vec<usize>>,
    ticks: &[i64],
    swap_of: &mut HashMap<u64, u64>,
) -> io::Result<Vec<(usize, TickSeries<MemorySums>)>> {
    const COLUMNS: [&str; 5] = ["ts", "process", "rss_bytes", "anon_bytes", "swap_bytes"];
    let groups = groups_of.values().flatten().max().map_or(0, |group| group + 1);
    let mut series = vec![TickSeries::<MemorySums>::default(); groups];
    let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else {
        return Ok(Vec::new());
    };
    let mut image: Option<Image<'_>> = None;
    for batch in recording.read_table_between("samples", &COLUMNS, first..=last) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (rss, anon, swap) =
            (number("rss_bytes")?, number("anon_bytes")?, number("swap_bytes")?);
        for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
            let process = process.unsigned_abs();
            if image.as_ref().is_none_or(|image| image.process != process) {
                if let Some(Image { process, swap_bytes: Some(bytes), .. }) = image {
                    swap_of.insert(process, bytes);
                }
                let groups = groups_of.get(&process).map_or(&[][..], Vec::as_slice);
                let swap_bytes = swap_of.get(&process).copied();
                image = Some(Image { process, groups, swap_bytes, cursor: TickCursor::new(ticks) });
            }
            let Some(image) = &mut image else { continue };
            if image.groups.is_empty() || !(first..=last).contains(&ts_ms) {
                continue;
            }
            let Some(tick) = image.cursor.find(ts_ms) else { continue };
            image.swap_bytes = known(swap, row).or(image.swap_bytes);
            let sample = MemorySums {
                processes: 1,
                rss_bytes: known(rss, row).unwrap_or(0),
                anon_bytes: known(anon, row).unwrap_or(0),
                swap_bytes: image.swap_bytes.unwrap_or(0),
            };
            for &group in image.groups {
                let series = series.get_mut(group);
                if let Some(sum) = series.and_then(|series| series.at_mut(tick)) {
                    *sum += sample;
                }
            }
        }
    }
    if let Some(Image { process, swap_bytes: Some(bytes), .. }) = image {
        swap_of.insert(process, bytes);
    }
    let sampled = series.into_iter().enumerate().filter(|(_, series)| !series.is_empty());
    Ok(sampled.collect())
}

/// The instant of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickInstant {
    /// The planned instant, in milliseconds since 1970.
    pub ts_ms: i64,
    /// The number of ticks right before it that were late or missed.
    pub late: u32,
    /// The number of its samples that were read and not written.
    pub dropped: u32,
}

/// Returns all ticks in the order of time.
///
/// # Errors
///
/// The table cannot be read.
pub fn tick_instants(recording: &Recording) -> io::Result<Vec<TickInstant>> {
    let mut instants = Vec::new();
    for batch in recording.read_table("ticks", &["ts", "late", "dropped"]) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let late = numbers::<Int32Type>(&batch, "late")?.values();
        let dropped = numbers::<Int32Type>(&batch, "dropped")?.values();
        instants.extend(ts.iter().zip(late).zip(dropped).map(|((&ts_ms, late), dropped)| {
            TickInstant { ts_ms, late: late.unsigned_abs(), dropped: dropped.unsigned_abs() }
        }));
    }
    instants.sort_unstable_by_key(|instant| instant.ts_ms);
    Ok(instants)
}
