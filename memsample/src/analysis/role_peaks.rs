//! The peak of all processes of a role or of a test together, with bounds: see `docs/peaks.md`.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::bound::{Bound, Source, counter_error_bytes, lower};
use super::composition::{Composition, Parts};
use super::growth::Growth;
use super::lifetimes::{Lifetimes, ticks};
use super::sampled_image::{SampledImage, sampled_images};
use super::test_membership::images_of_tests;
use super::upper_sum::UpperSum;
use crate::columns::numbers;
use crate::recording::{ImageRow, Recording};

/// Sums that are kept at a time, one for each role and tick: 64 MiB. A longer recording is read in spans
/// of time.
const MAX_SUMS: usize = 4 << 20;

/// The largest sum of the resident sets of all processes of a role, or of a test, at one instant.
///
/// Memory that they share counts once for each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePeak {
    /// The role; from [`test_peaks`], the name of the test.
    pub role: String,
    /// The number of their process images in the whole recording.
    pub images: u64,
    /// The lower bound of the sum.
    pub lower: Bound,
    /// The upper bound; `None` where it is not known for every member.
    pub upper: Option<Bound>,
    /// The tick with the largest sum; if a single process had a higher peak, the latest possible time of it.
    pub by: Timestamp,
    /// The number of processes at the tick with the largest sum; 0 where none was ever sampled.
    pub processes: u64,
    /// The parts of the largest sum; `None` where no process was ever sampled. A part is `None` if it lacks
    /// a process.
    pub composition: Option<Composition>,
    /// Whether the sum rose until its last tick; `None` where that is not known.
    pub rising_at_end: Option<bool>,
}

/// Returns the `top` largest peaks of the roles that `keep` accepts, largest lower bound first.
///
/// Needs about 200 bytes of memory for each process image, and up to 64 MiB for sums.
///
/// # Errors
///
/// A table cannot be read.
pub fn role_peaks(
    recording: &Recording,
    top: usize,
    mut keep: impl FnMut(&str) -> bool,
) -> io::Result<Vec<RolePeak>> {
    let mut rows = Vec::new();
    recording.for_each_image(|row| {
        if keep(&row.role) {
            rows.push(ImageRow { cmdline: None, ..row });
        }
    })?;
    peaks_of(recording, rows, top)
}

/// Returns the `top` largest peaks of the tests that `keep` accepts, largest lower bound first.
///
/// The test of a process image is that of the column `processes.test`, or else that of the `memsample exec`
/// from which it descends. If a test ran several times, the peak covers all its attempts. Processes of no
/// test are left out. Needs as much memory as [`role_peaks`].
///
/// # Errors
///
/// A table cannot be read.
pub fn test_peaks(
    recording: &Recording,
    top: usize,
    mut keep: impl FnMut(&str) -> bool,
) -> io::Result<Vec<RolePeak>> {
    let mut rows = images_of_tests(recording)?;
    rows.retain_mut(|row| {
        row.role = row.test.clone().unwrap_or_default();
        keep(&row.role)
    });
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    peaks_of(recording, rows, top)
}

/// What is collected of a role.
struct RoleSums {
    name: String,
    images: u64,
    /// The largest lower bound of a single member, and the latest possible time of it.
    single: Bound,
    single_ms: i64,
    upper: UpperSum,
    peak: Option<(u64, i64)>,
    growth: Growth,
    processes: u64,
    composition: Option<Composition>,
}

/// Returns the largest peaks of the images, grouped by their roles.
fn peaks_of(recording: &Recording, rows: Vec<ImageRow>, top: usize) -> io::Result<Vec<RolePeak>> {
    let images = sampled_images(recording, rows)?;
    let ticks = ticks(recording)?;
    let (mut roles, role_of) = collect(recording, images, &ticks)?;
    sum_samples(recording, &mut roles, &role_of, &ticks)?;
    roles.sort_by(|a, b| {
        let largest = |role: &RoleSums| Reverse(role.lower().bytes);
        (largest(a), &a.name).cmp(&(largest(b), &b.name))
    });
    roles.truncate(top);
    compose(recording, &mut roles, &role_of)?;
    Ok(roles.into_iter().map(RoleSums::into_peak).collect())
}

/// Adds the images to their roles, and returns the name of the role of each image.
fn collect(
    recording: &Recording,
    images: Vec<SampledImage>,
    ticks: &[i64],
) -> io::Result<(Vec<RoleSums>, HashMap<u64, String>)> {
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    let lifetimes = Lifetimes::new(recording, ticks)?;
    let mut by_name: HashMap<String, RoleSums> = HashMap::new();
    let mut role_of = HashMap::with_capacity(images.len());
    for image in images {
        let name = image.row.role.clone();
        role_of.insert(image.row.process, name.clone());
        let role = by_name.entry(name).or_insert_with_key(|name| RoleSums::new(name.clone()));
        role.images += 1;
        let lower = lower(&image.row);
        if lower.bytes > role.single.bytes {
            role.single = lower;
            role.single_ms = image.exit_ms.unwrap_or(image.row.last_ms);
        }
        let process = (image.row.pid, image.row.start_ns);
        role.upper.add(process, lifetimes.of(&image), image.upper(error_bytes));
        match image.reaped_upper(error_bytes) {
            Some(upper) if image.unseen_before > 0 => {
                role.upper.add(process, lifetimes.before(&image), Some(upper));
            }
            _ => role.upper.add_unseen(image.unseen_before),
        }
    }
    Ok((by_name.into_values().collect(), role_of))
}

/// Finds the largest sum of each role, in spans of ticks.
fn sum_samples(
    recording: &Recording,
    roles: &mut [RoleSums],
    role_of: &HashMap<u64, String>,
    ticks: &[i64],
) -> io::Result<()> {
    let places: HashMap<&str, usize> =
        roles.iter().enumerate().map(|(place, role)| (role.name.as_str(), place)).collect();
    let place_of: HashMap<u64, usize> = role_of
        .iter()
        .filter_map(|(&process, name)| Some((process, *places.get(name.as_str())?)))
        .collect();
    let span = (MAX_SUMS / roles.len().max(1)).max(1);
    for ticks in ticks.chunks(span) {
        let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else {
            continue;
        };
        let mut sums = vec![None::<u64>; ticks.len().saturating_mul(roles.len())];
        for_each_sample(recording, first..=last, |ts_ms, process, rss_bytes| {
            let place = place_of.get(&process)?;
            let tick = ticks.binary_search(&ts_ms).ok()?;
            let sum = sums.get_mut(place.checked_mul(ticks.len())?.checked_add(tick)?)?;
            *sum = Some(sum.unwrap_or(0).saturating_add(rss_bytes));
            Some(())
        })?;
        for (role, sums) in roles.iter_mut().zip(sums.chunks(ticks.len())) {
            for (&ts_ms, sum) in ticks.iter().zip(sums) {
                if let &Some(bytes) = sum {
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

fn for_each_sample(
    recording: &Recording,
    span: RangeInclusive<i64>,
    mut each: impl FnMut(i64, u64, u64) -> Option<()>,
) -> io::Result<()> {
    let columns = ["ts", "process", "rss_bytes"];
    for batch in recording.read_table_between("samples", &columns, span) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let rss = numbers::<Int64Type>(&batch, "rss_bytes")?.values();
        for ((&ts, process), rss) in ts.iter().zip(process).zip(rss) {
            // Samples of other processes are skipped.
            let _ = each(ts, process.unsigned_abs(), rss.unsigned_abs());
        }
    }
    Ok(())
}

/// Adds up the parts of the largest sums.
fn compose(
    recording: &Recording,
    roles: &mut [RoleSums],
    role_of: &HashMap<u64, String>,
) -> io::Result<()> {
    let peaks: HashSet<i64> = roles.iter().filter_map(|role| Some(role.peak?.1)).collect();
    let (Some(&first), Some(&last)) = (peaks.iter().min(), peaks.iter().max()) else {
        return Ok(());
    };
    let mut by_name: HashMap<String, &mut RoleSums> =
        roles.iter_mut().map(|role| (role.name.clone(), role)).collect();
    let columns =
        ["ts", "process", "rss_bytes", "anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes"];
    for batch in recording.read_table_between("samples", &columns, first..=last) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let parts = Parts::of(&batch)?;
        for (row, (ts_ms, process)) in ts.iter().zip(process).enumerate() {
            let role = role_of.get(&process.unsigned_abs()).filter(|_| peaks.contains(ts_ms));
            let Some(role) = role.and_then(|name| by_name.get_mut(name)) else {
                continue;
            };
            if role.peak.is_none_or(|(_, peak_ms)| peak_ms != *ts_ms) {
                continue;
            }
            let ts = Timestamp::from_millisecond(*ts_ms).map_err(io::Error::other)?;
            role.processes += 1;
            let sum = role.composition.get_or_insert_with(|| Composition::of_none(ts));
            sum.add(&parts.at(row, ts));
        }
    }
    Ok(())
}

impl RoleSums {
    fn new(name: String) -> Self {
        Self {
            name,
            images: 0,
            single: Bound { bytes: 0, source: Source::Sampled },
            single_ms: 0,
            upper: UpperSum::default(),
            peak: None,
            growth: Growth::default(),
            processes: 0,
            composition: None,
        }
    }

    fn lower(&self) -> Bound {
        match self.peak {
            Some((bytes, _)) if bytes >= self.single.bytes => {
                Bound { bytes, source: Source::Sampled }
            }
            _ => self.single,
        }
    }

    fn into_peak(self) -> RolePeak {
        let lower = self.lower();
        let upper = self.upper.largest(lower.bytes);
        let by_ms = match self.peak {
            Some((bytes, ts_ms)) if bytes >= self.single.bytes => ts_ms,
            _ => self.single_ms,
        };
        RolePeak {
            role: self.name,
            images: self.images,
            lower,
            upper,
            by: Timestamp::from_millisecond(by_ms).unwrap_or_default(),
            processes: self.processes,
            composition: self.composition,
            rising_at_end: self.growth.rising(),
        }
    }
}
