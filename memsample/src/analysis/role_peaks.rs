//! The peak of all processes of a role or of a test together, with bounds: see `docs/peaks.md`.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;

use jiff::Timestamp;

use super::borrowed_maps::TestImages;
use super::both_at_once::both_at_once;
use super::bound::{Bound, Source, counter_error_bytes, lower};
use super::composition::Composition;
use super::forked_memory::forked_lives;
use super::lifetimes::{Lifetimes, ticks};
use super::role_sums::{RoleSums, role_sums};
use super::sampled_image::{SampledImage, sampled_images};
use super::shared_maps::SharedMaps;
use super::test_membership::images_of_tests;
use super::upper_sum::{MemoryHolder, UpperSum};
use crate::recording::{ImageRow, Recording};

/// The largest sum of the resident sets of all processes of a role, or of a test, at one instant.
///
/// Memory that they share counts once for each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePeak {
    /// The role; from [`test_peaks`], the name of the test.
    pub role: String,
    /// The number of their process images in the whole recording.
    pub images: u64,
    /// The lower bound of the sum; `None` where nothing is known of any member.
    pub lower: Option<Bound>,
    /// The upper bound; `None` where it is not known for every member.
    pub upper: Option<Bound>,
    /// The tick with the largest sum; if a single process had a higher peak, the latest possible time of it.
    /// `None` like `lower`.
    pub by: Option<Timestamp>,
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
/// Needs about 200 bytes of memory for each process image, and up to 32 MiB for sums.
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
    peaks_of(recording, rows, None, top)
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
    let TestImages { mut counted, mut borrowed } = images_of_tests(recording)?;
    for rows in [&mut counted, &mut borrowed] {
        rows.retain_mut(|row| {
            row.role = row.test.clone().unwrap_or_default();
            keep(&row.role)
        });
    }
    if counted.is_empty() {
        return Ok(Vec::new());
    }
    peaks_of(recording, counted, Some(borrowed), top)
}

/// What is collected of a role.
struct Role {
    name: String,
    images: u64,
    /// The largest lower bound of a single member, and the latest possible time of it.
    single: Option<(Bound, i64)>,
    upper: UpperSum,
    sums: RoleSums,
}

/// Returns the largest peaks of the images, grouped by their roles.
///
/// `borrowed` are the images of tests between fork and exec; `None` where the roles are not tests.
fn peaks_of(
    recording: &Recording,
    mut rows: Vec<ImageRow>,
    borrowed: Option<Vec<ImageRow>>,
    top: usize,
) -> io::Result<Vec<RolePeak>> {
    let ticks = ticks(recording)?;
    let maps = SharedMaps::read(recording)?;
    let mut place_of_name: HashMap<String, usize> = HashMap::new();
    let place_of: HashMap<u64, usize> = rows
        .iter()
        .map(|row| {
            let next = place_of_name.len();
            (row.process, *place_of_name.entry(row.role.clone()).or_insert(next))
        })
        .collect();
    let sums = || role_sums(recording, &place_of, place_of_name.len(), &maps, &ticks);
    let keys: Option<HashSet<u64>> =
        borrowed.as_ref().map(|rows| rows.iter().map(|row| row.process).collect());
    rows.extend(borrowed.into_iter().flatten());
    // Both read all samples, and neither needs the other.
    let (images, sums) = both_at_once(|| sampled_images(recording, rows), sums);
    let mut roles: Vec<Role> = sums?.into_iter().map(Role::new).collect();
    for (name, place) in place_of_name {
        if let Some(role) = roles.get_mut(place) {
            role.name = name;
        }
    }
    add_images(recording, images?, keys.as_ref(), &place_of, &maps, &mut roles, &ticks)?;
    roles.sort_by(|a, b| {
        let largest = |role: &Role| Reverse(role.lower().map(|(lower, _)| lower.bytes));
        (largest(a), &a.name).cmp(&(largest(b), &b.name))
    });
    roles.truncate(top);
    Ok(roles.into_iter().map(Role::into_peak).collect())
}

/// Adds the images to their roles.
fn add_images(
    recording: &Recording,
    images: Vec<SampledImage>,
    borrowed: Option<&HashSet<u64>>,
    place_of: &HashMap<u64, usize>,
    maps: &SharedMaps,
    roles: &mut [Role],
    ticks: &[i64],
) -> io::Result<()> {
    let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
    let lifetimes = Lifetimes::new(recording, ticks)?;
    if let Some(borrowed) = borrowed {
        for life in forked_lives(recording, &lifetimes, &images, borrowed, maps, error_bytes)? {
            let place = place_of.get(&life.program);
            if let Some(role) = place.and_then(|place| roles.get_mut(*place)) {
                let upper = life.beside.map(|(_, bound)| bound).or(life.upper);
                role.upper.add(MemoryHolder::Process(life.process), life.lived_ns, upper);
            }
        }
    }
    for image in images {
        let place = place_of.get(&image.row.process);
        let Some(role) = place.and_then(|place| roles.get_mut(*place)) else { continue };
        role.images += 1;
        let lower = lower(&image.row);
        if lower.bytes > role.single.map_or(0, |(largest, _)| largest.bytes) {
            role.single = Some((lower, image.exit_ms.unwrap_or(image.row.last_ms)));
        }
        let holder = lifetimes.holder(&image, maps);
        role.upper.add(holder, lifetimes.of(&image), image.upper(error_bytes));
        match image.unseen_upper(error_bytes) {
            Some(upper) if image.unseen_before > 0 => {
                let process = MemoryHolder::Process((image.row.pid, image.row.start_ns));
                role.upper.add(process, lifetimes.before(&image), Some(upper));
            }
            _ => role.upper.add_unseen(image.unseen_before),
        }
    }
    Ok(())
}

impl Role {
    fn new(sums: RoleSums) -> Self {
        Self { name: String::new(), images: 0, single: None, upper: UpperSum::default(), sums }
    }

    /// The lower bound, and its time.
    fn lower(&self) -> Option<(Bound, i64)> {
        let sampled = self.sums.peak;
        let sampled = sampled.map(|(bytes, ms)| (Bound { bytes, source: Source::Sampled }, ms));
        match (sampled, self.single) {
            (Some(sampled), Some(single)) if sampled.0.bytes < single.0.bytes => Some(single),
            (sampled, single) => sampled.or(single),
        }
    }

    fn into_peak(self) -> RolePeak {
        let (lower, by_ms) = self.lower().unzip();
        let upper = self.upper.largest(lower.map_or(0, |lower| lower.bytes));
        RolePeak {
            role: self.name,
            images: self.images,
            lower,
            upper,
            by: by_ms.map(|ms| Timestamp::from_millisecond(ms).unwrap_or_default()),
            processes: self.sums.processes,
            composition: self.sums.composition,
            rising_at_end: self.sums.growth.rising(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_role_of_which_nothing_is_known() {
        let of = |peak, single| {
            let role = Role { single, ..Role::new(RoleSums { peak, ..RoleSums::default() }) };
            let RolePeak { lower, by, .. } = role.into_peak();
            (lower.map(|lower| lower.bytes), by.map(Timestamp::as_millisecond))
        };
        let mark = |bytes| Some((Bound { bytes, source: Source::ExitRecord }, 9));
        assert_eq!(of(None, None), (None, None));
        // A process without memory has none for certain.
        assert_eq!(of(Some((0, 7)), None), (Some(0), Some(7)));
        assert_eq!(of(None, mark(5)), (Some(5), Some(9)));
        assert_eq!(of(Some((4, 7)), mark(5)), (Some(5), Some(9)));
        assert_eq!(of(Some((5, 7)), mark(5)), (Some(5), Some(7)));
    }
}
