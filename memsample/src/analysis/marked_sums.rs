//! The largest sums of resident sets within spans of time, of all processes and of trees.

use std::collections::HashMap;
use std::io;
use std::ops::{Deref, Range};

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::composition::{Composition, Parts};
use super::process_trees::{ProcessTrees, Root};
use super::shared_maps::{CountedOnce, SharedMaps};
use crate::columns::numbers;
use crate::recording::Recording;

/// Sums that are kept at a time, one for each tree and tick: 64 MiB. A longer recording is read in spans of
/// time.
const MAX_SUMS: usize = 4 << 20;

/// A sweep: its tick, and when it really began and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) ts_ms: i64,
    began_ns: u64,
    pub(super) ended_ns: u64,
}

/// The sweeps of a recording, in the order of time.
pub(super) struct SpanTicks(Vec<Sweep>);

impl Deref for SpanTicks {
    type Target = [Sweep];

    fn deref(&self) -> &[Sweep] {
        &self.0
    }
}

impl SpanTicks {
    /// Returns the sweeps that began and ended between two instants. In a sweep that only began before the
    /// later one, a process may have been read after it.
    pub(super) fn between(&self, begin_ns: u64, end_ns: u64) -> Range<usize> {
        let first = self.0.partition_point(|sweep| sweep.began_ns < begin_ns);
        let behind = self.0.partition_point(|sweep| sweep.ended_ns <= end_ns);
        first..behind.max(first)
    }
}

/// A span of time, and whose memory is added up within it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) ticks: Range<usize>,
    /// The tree, where it is one.
    pub(super) root: Option<Root>,
    /// Whether it is every process of the recording.
    pub(super) is_whole: bool,
}

/// The largest sum within a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Largest {
    pub(super) ts_ms: i64,
    pub(super) processes: u64,
    pub(super) composition: Composition,
}

/// Reads when each sweep began and ended.
pub(super) fn sweeps(recording: &Recording) -> io::Result<SpanTicks> {
    let mut sweeps = Vec::new();
    for batch in recording.read_table("ticks", &["ts", "began_ns", "duration_us"]) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let began = numbers::<Int64Type>(&batch, "began_ns")?.values();
        let duration = numbers::<Int64Type>(&batch, "duration_us")?.values();
        for ((&ts_ms, began), duration) in ts.iter().zip(began).zip(duration) {
            let began_ns = began.unsigned_abs();
            let ended_ns = began_ns.saturating_add(duration.unsigned_abs().saturating_mul(1000));
            sweeps.push(Sweep { ts_ms, began_ns, ended_ns });
        }
    }
    sweeps.sort_unstable_by_key(|sweep| sweep.ts_ms);
    sweeps.dedup_by_key(|sweep| sweep.ts_ms);
    Ok(SpanTicks(sweeps))
}

/// Returns the largest sum of each window; `None` where nothing of it was sampled.
pub(super) fn largest_sums(
    recording: &Recording,
    trees: &ProcessTrees,
    sweeps: &[Sweep],
    windows: &[Window],
) -> io::Result<Vec<Option<Largest>>> {
    let mut roots: Vec<Root> = windows.iter().filter_map(|window| window.root).collect();
    roots.sort_unstable();
    roots.dedup();
    let members = trees.members(&roots);
    // Of the whole machine, as over time, each process counts.
    let trees_of = |image| members.get(&image).map_or(&[][..], Vec::as_slice);
    let counted_once = SharedMaps::read(recording)?.counted_once(trees_of);
    let groups = Groups {
        members,
        has_whole: windows.iter().any(|window| window.is_whole),
        whole: roots.len(),
        counted_once,
    };
    let group_of = |window: &Window| match window.is_whole {
        true => Some(groups.whole),
        false => roots.binary_search(&window.root?).ok(),
    };
    let of_windows: Vec<Option<usize>> = windows.iter().map(group_of).collect();
    let mut peaks: Vec<Option<(u64, usize)>> = vec![None; windows.len()];
    // Only the time within windows is read.
    let used = windows.iter().map(|window| &window.ticks).filter(|ticks| !ticks.is_empty());
    let first = used.clone().map(|ticks| ticks.start).min().unwrap_or(0);
    let behind = used.map(|ticks| ticks.end).max().unwrap_or(0);
    let step = (MAX_SUMS / (roots.len() + 1)).max(1);
    for start in (first..behind).step_by(step) {
        let chunk = start..(start + step).min(behind);
        let sums = groups.sums(recording, sweeps, &chunk)?;
        for ((window, group), peak) in windows.iter().zip(&of_windows).zip(&mut peaks) {
            let Some(sums) = group.and_then(|group| sums.get(group)) else { continue };
            let common = window.ticks.start.max(chunk.start)..window.ticks.end.min(chunk.end);
            for tick in common {
                if let Some(&Some(bytes)) = sums.get(tick - chunk.start)
                    && peak.is_none_or(|(largest, _)| bytes > largest)
                {
                    *peak = Some((bytes, tick));
                }
            }
        }
    }
    groups.compose(recording, sweeps, &of_windows, &peaks)
}

/// The trees whose memory is added up, and all processes as another one behind them.
struct Groups {
    members: HashMap<u64, Vec<usize>>,
    has_whole: bool,
    whole: usize,
    counted_once: CountedOnce<usize>,
}

impl Groups {
    /// Passes on the groups in which a process image is.
    fn each_of(&self, trees: Option<&Vec<usize>>, each: impl FnMut(usize)) {
        let whole = self.has_whole.then_some(self.whole);
        trees.into_iter().flatten().copied().chain(whole).for_each(each);
    }

    /// Adds up the resident sets of each group at each tick.
    fn sums(
        &self,
        recording: &Recording,
        sweeps: &[Sweep],
        chunk: &Range<usize>,
    ) -> io::Result<Vec<Vec<Option<u64>>>> {
        let mut sums = vec![vec![None::<u64>; chunk.len()]; self.whole + 1];
        let ticks = sweeps.get(chunk.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return Ok(sums) };
        let columns = ["ts", "process", "rss_bytes"];
        let span = first.ts_ms..=last.ts_ms;
        for batch in recording.read_table_between("samples", &columns, span) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let rss = numbers::<Int64Type>(&batch, "rss_bytes")?.values();
            // The rows of an image are adjacent and in the order of time.
            let (mut of, mut trees, mut next) = (None, None, 0);
            for ((ts_ms, process), rss) in ts.iter().zip(process).zip(rss) {
                if of != Some(process) {
                    (of, trees) = (Some(process), self.members.get(&process.unsigned_abs()));
                }
                if trees.is_none() && !self.has_whole {
                    continue;
                }
                let is_next = ticks.get(next).is_some_and(|tick| tick.ts_ms == *ts_ms);
                let found = match is_next {
                    true => Ok(next),
                    false => ticks.binary_search_by_key(ts_ms, |tick| tick.ts_ms),
                };
                let Ok(tick) = found else { continue };
                next = tick + 1;
                let image = process.unsigned_abs();
                self.each_of(trees, |group| {
                    if !self.counted_once.leaves_out(group, image, *ts_ms)
                        && let Some(sum) = sums.get_mut(group).and_then(|sums| sums.get_mut(tick))
                    {
                        *sum = Some(sum.unwrap_or(0).saturating_add(rss.unsigned_abs()));
                    }
                });
            }
        }
        Ok(sums)
    }

    /// Adds up the parts of the largest sums, which are known by their ticks.
    fn compose(
        &self,
        recording: &Recording,
        sweeps: &[Sweep],
        of_windows: &[Option<usize>],
        peaks: &[Option<(u64, usize)>],
    ) -> io::Result<Vec<Option<Largest>>> {
        let mut sums: HashMap<(i64, usize), Largest> = HashMap::new();
        let mut at: HashMap<i64, Vec<usize>> = HashMap::new();
        let key = |peak: &Option<(u64, usize)>, group: &Option<usize>| {
            let (_, tick) = (*peak)?;
            Some((sweeps.get(tick)?.ts_ms, (*group)?))
        };
        for (peak, group) in peaks.iter().zip(of_windows) {
            let Some((ts_ms, group)) = key(peak, group) else { continue };
            let ts = Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)?;
            sums.entry((ts_ms, group)).or_insert_with(|| {
                at.entry(ts_ms).or_default().push(group);
                let composition = Composition::of_none(ts);
                Largest { ts_ms, processes: 0, composition }
            });
        }
        let (Some(&first), Some(&last)) = (at.keys().min(), at.keys().max()) else {
            return Ok(vec![None; peaks.len()]);
        };
        let columns =
            ["ts", "process", "rss_bytes", "anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes"];
        for batch in recording.read_table_between("samples", &columns, first..=last) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let parts = Parts::of(&batch)?;
            for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
                let Some(wanted) = at.get(&ts_ms) else { continue };
                let trees = self.members.get(&process.unsigned_abs());
                self.each_of(trees, |group| {
                    if !wanted.contains(&group) {
                        return;
                    }
                    let Some(largest) = sums.get_mut(&(ts_ms, group)) else { return };
                    if self.counted_once.leaves_out(group, process.unsigned_abs(), ts_ms) {
                        return;
                    }
                    largest.processes += 1;
                    largest.composition.add(&parts.at(row, largest.composition.ts));
                });
            }
        }
        let largest = peaks.iter().zip(of_windows);
        Ok(largest.map(|(peak, group)| sums.get(&key(peak, group)?).copied()).collect())
    }
}
