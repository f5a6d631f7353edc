//! The sums of the resident sets of all processes of a role, at each tick.

use std::collections::HashMap;
use std::io;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::composition::{Composition, Parts};
use super::growth::Growth;
use super::shared_maps::{CountedOnce, SharedMaps};
use super::tick_series::TickCursor;
use crate::columns::{numbers, runs};
use crate::recording::Recording;

/// Sums that are kept at a time, one for each role and tick: 32 MiB. A longer recording is read in spans
/// of time.
const MAX_SUMS: usize = 4 << 20;

/// What the samples of a role say together.
#[derive(Clone, Debug, Default)]
pub(super) struct RoleSums {
    /// The largest sum in bytes, and its tick; `None` where nothing was sampled.
    pub(super) peak: Option<(u64, i64)>,
    pub(super) growth: Growth,
    /// The processes at the tick with the largest sum.
    pub(super) processes: u64,
    /// The parts of the largest sum.
    pub(super) composition: Option<Composition>,
}

/// Returns the sums of each role: `place_of` has its place for each process.
pub(super) fn role_sums(
    recording: &Recording,
    place_of: &HashMap<u64, usize>,
    count: usize,
    maps: &SharedMaps,
    ticks: &[i64],
) -> io::Result<Vec<RoleSums>> {
    let places = |process| place_of.get(&process).map_or(&[][..], std::slice::from_ref);
    let members = Members { place_of, counted_once: maps.counted_once(places) };
    let mut roles = vec![RoleSums::default(); count];
    sum_samples(recording, &mut roles, &members, ticks)?;
    compose(recording, &mut roles, &members)?;
    Ok(roles)
}

/// The processes of the roles.
struct Members<'a> {
    place_of: &'a HashMap<u64, usize>,
    counted_once: CountedOnce<usize>,
}

/// Finds the largest sum of each role, in spans of ticks.
fn sum_samples(
    recording: &Recording,
    roles: &mut [RoleSums],
    members: &Members<'_>,
    ticks: &[i64],
) -> io::Result<()> {
    let span = (MAX_SUMS / roles.len().max(1)).max(1);
    for ticks in ticks.chunks(span) {
        let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else {
            continue;
        };
        let mut sums = vec![0; ticks.len().saturating_mul(roles.len())];
        let columns = ["ts", "process", "rss_bytes"];
        for batch in recording.read_table_between("samples", &columns, first..=last) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let rss = numbers::<Int64Type>(&batch, "rss_bytes")?.values();
            for (process, rows) in runs(process) {
                let Some(&place) = members.place_of.get(&process) else { continue };
                let begin = place.saturating_mul(ticks.len());
                let of_role = sums.get_mut(begin..begin.saturating_add(ticks.len()));
                let rows = ts.get(rows.clone()).zip(rss.get(rows));
                if let (Some(sums), Some((ts, rss))) = (of_role, rows) {
                    let is_left_out =
                        |ts_ms: &i64| members.counted_once.leaves_out(place, process, *ts_ms);
                    let counted = ts.partition_point(is_left_out);
                    if let (Some(ts), Some(rss)) = (ts.get(counted..), rss.get(counted..)) {
                        add_run(sums, ticks, ts, rss);
                    }
                }
            }
        }
        for (role, sums) in roles.iter_mut().zip(sums.chunks(ticks.len())) {
            for (&ts_ms, sum) in ticks.iter().zip(sums) {
                if let Some(bytes) = sum.checked_sub(1) {
                    role.growth.observe(ts_ms, bytes);
                    if role.peak.is_none_or(|(largest, _)| bytes > largest) {
                        role.peak = Some((bytes, ts_ms));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Adds the samples of one process to the sums of its role, one for each tick: 0 where there is no sample, else the sum
/// and 1.
fn add_run(sums: &mut [u64], ticks: &[i64], ts: &[i64], rss: &[i64]) {
    let mut cursor = TickCursor::new(ticks);
    for (ts_ms, rss) in ts.iter().zip(rss) {
        if let Some(sum) = cursor.find(*ts_ms).and_then(|tick| sums.get_mut(tick)) {
            *sum = (*sum).max(1).saturating_add(rss.unsigned_abs());
        }
    }
}

/// Adds up the parts of the largest sums.
fn compose(recording: &Recording, roles: &mut [RoleSums], members: &Members<'_>) -> io::Result<()> {
    let peaks = || roles.iter().filter_map(|role| Some(role.peak?.1));
    let (Some(first), Some(last)) = (peaks().min(), peaks().max()) else {
        return Ok(());
    };
    let columns =
        ["ts", "process", "rss_bytes", "anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes"];
    for batch in recording.read_table_between("samples", &columns, first..=last) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let parts = Parts::of(&batch)?;
        for (process, rows) in runs(process) {
            let Some(&place) = members.place_of.get(&process) else { continue };
            let Some(role) = roles.get_mut(place) else { continue };
            let Some((_, peak_ms)) = role.peak else { continue };
            if members.counted_once.leaves_out(place, process, peak_ms) {
                continue;
            }
            for (row, _) in rows
                .clone()
                .zip(ts.get(rows).unwrap_or_default())
                .filter(|(_, ts_ms)| **ts_ms == peak_ms)
            {
                let ts = Timestamp::from_millisecond(peak_ms).map_err(io::Error::other)?;
                role.processes += 1;
                let sum = role.composition.get_or_insert_with(|| Composition::of_none(ts));
                sum.add(&parts.at(row, ts));
            }
        }
    }
    Ok(())
}
