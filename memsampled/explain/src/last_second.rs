//! The largest processes in the last second before an instant, and since when they had grown.

use std::collections::{BTreeMap, HashMap};
use std::io;

use memsample::analysis::{MemorySums, sums_between};
use memsample::parse::Meminfo;
use memsample::{InstantError, Recording};
use serde::{Deserialize, Serialize};

use crate::subject::Part;

/// How long the last moment is.
const LAST_MS: i64 = 1000;
/// The time over which growth is told.
pub(crate) const GROWTH_MS: i64 = 10_000;
/// Processes that are named.
const MAX_NAMED: usize = 10;

/// A process image, and its memory at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeProcess {
    /// The key of the image in `processes`.
    pub process: u64,
    /// Its process id.
    pub pid: i32,
    /// What it does.
    pub role: String,
    /// Its resident set, in bytes.
    pub rss_bytes: u64,
    /// Of that, anonymous memory, in bytes.
    pub anon_bytes: u64,
    /// What of it was swapped out by the last reading, in bytes.
    pub swap_bytes: u64,
    /// By how much its resident set had grown in the ten seconds before, or since its first sample, in bytes.
    pub grown_bytes: i64,
    /// For how many milliseconds before it had had more than half of this resident set; `None` where it had more from its
    /// first sample on.
    pub doubled_in_ms: Option<u64>,
}

/// What was resident in the last second before an instant.
pub(crate) struct LastSecond {
    /// The tick with the largest sum, in milliseconds since 1970.
    pub(crate) ts_ms: i64,
    /// The sums over all processes then.
    pub(crate) sums: MemorySums,
    /// The largest processes.
    pub(crate) largest: Vec<LargeProcess>,
    /// The control groups of these.
    pub(crate) cgroups: Vec<String>,
    /// The memory of the machine then; `None` where it was not read.
    pub(crate) meminfo: Option<Meminfo>,
}

/// Looks at the tick with the largest sum in the second before `end_ms`; `None` where there is no sample in it.
pub(crate) fn last_second(
    recording: &Recording,
    part: &Part,
    end_ms: i64,
) -> io::Result<Option<LastSecond>> {
    let mut images: Vec<u64> = part.images.keys().copied().collect();
    images.sort_unstable();
    let groups_of: HashMap<u64, Vec<usize>> =
        images.iter().enumerate().map(|(group, image)| (*image, vec![group])).collect();
    let begin_ms = part.begin_ms.max(end_ms.saturating_sub(LAST_MS));
    let mut ticks: BTreeMap<i64, Vec<(usize, MemorySums)>> = BTreeMap::new();
    sums_between(recording, &groups_of, begin_ms..=end_ms, |it| {
        ticks.entry(it.ts_ms).or_default().push((it.group, it.sums));
    })?;
    let rss = |processes: &[(usize, MemorySums)]| -> u64 {
        processes.iter().map(|(_, sums)| sums.rss_bytes).sum()
    };
    let Some((ts_ms, mut processes)) = ticks.into_iter().max_by_key(|(_, all)| rss(all)) else {
        return Ok(None);
    };
    let mut sums = MemorySums::default();
    processes.iter().for_each(|(_, of)| sums += *of);
    processes.sort_by_key(|(group, of)| (std::cmp::Reverse(of.rss_bytes), *group));
    processes.truncate(MAX_NAMED);
    let named: Vec<(u64, MemorySums)> = processes
        .into_iter()
        .filter_map(|(group, sums)| Some((*images.get(group)?, sums)))
        .collect();
    let mut largest = with_growth(recording, part, &named, ts_ms)?;
    let (cgroups, meminfo) = with_pids(recording, &mut largest, ts_ms)?;
    Ok(Some(LastSecond { ts_ms, sums, largest, cgroups, meminfo }))
}

/// What was seen of an image before.
#[derive(Clone, Copy, Default)]
struct Before {
    /// Its resident set ten seconds before, or at its first sample.
    bytes: Option<u64>,
    swap_bytes: u64,
    /// The last tick at which it had half of what it has at last, or less.
    half_ms: Option<i64>,
}

fn with_growth(
    recording: &Recording,
    part: &Part,
    named: &[(u64, MemorySums)],
    ts_ms: i64,
) -> io::Result<Vec<LargeProcess>> {
    let groups_of =
        named.iter().enumerate().map(|(group, (image, _))| (*image, vec![group])).collect();
    let mut before = vec![Before::default(); named.len()];
    sums_between(recording, &groups_of, part.begin_ms..=ts_ms, |it| {
        let (Some(before), Some((_, last))) = (before.get_mut(it.group), named.get(it.group))
        else {
            return;
        };
        if before.bytes.is_none() || it.ts_ms <= ts_ms.saturating_sub(GROWTH_MS) {
            before.bytes = Some(it.sums.rss_bytes);
        }
        // Swap is read less often, so that the last second alone may not have it.
        before.swap_bytes = it.sums.swap_bytes;
        if it.sums.rss_bytes <= last.rss_bytes / 2 {
            before.half_ms = Some(it.ts_ms);
        }
    })?;
    let processes = named.iter().zip(before).map(|((process, sums), before)| {
        let bytes = before.bytes.unwrap_or(sums.rss_bytes);
        LargeProcess {
            process: *process,
            pid: 0,
            role: part.images.get(process).cloned().unwrap_or_default(),
            rss_bytes: sums.rss_bytes,
            anon_bytes: sums.anon_bytes,
            swap_bytes: before.swap_bytes,
            grown_bytes: i64::try_from(i128::from(sums.rss_bytes) - i128::from(bytes)).unwrap_or(0),
            doubled_in_ms: before.half_ms.map(|half_ms| ts_ms.abs_diff(half_ms)),
        }
    });
    Ok(processes.collect())
}

/// Fills in the pids, and returns the control groups, and the memory of the machine.
fn with_pids(
    recording: &Recording,
    largest: &mut [LargeProcess],
    ts_ms: i64,
) -> io::Result<(Vec<String>, Option<Meminfo>)> {
    let at = jiff::Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)?;
    let instant = match recording.instant(at) {
        Ok(instant) => instant,
        Err(InstantError::Io(error)) => return Err(error),
        Err(_) => return Ok((Vec::new(), None)),
    };
    let mut cgroups = Vec::new();
    for process in largest {
        let recorded = instant.processes.iter().find(|it| it.process.0 == process.process);
        let Some(recorded) = recorded else { continue };
        process.pid = recorded.pid;
        if let Some(cgroup) = &recorded.cgroup
            && !cgroups.contains(cgroup)
        {
            cgroups.push(cgroup.clone());
        }
    }
    Ok((cgroups, instant.meminfo))
}
