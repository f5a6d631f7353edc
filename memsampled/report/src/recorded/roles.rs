//! Which roles a stack shows by themselves: those with the largest peaks.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;

use memsample::Recording;
use memsample::analysis::sums_over_time;

use super::images::{Image, Images};

/// Roles whose sums are kept over time while it is not yet known which are the largest: 40 MiB in an hour.
const MAX_CANDIDATES: usize = 48;

/// Returns the positions of roles, among which are the `count` roles with the largest sampled peaks.
///
/// The table of images says between which bounds each peak is: it is not below the largest image, and not above the
/// largest sum of images that lived at the same time. Only where that leaves too many, the samples are read for it.
pub(super) fn candidates(
    recording: &Recording,
    images: &Images,
    count: usize,
) -> io::Result<Vec<usize>> {
    let mut lower = vec![0_u64; images.roles.len()];
    let mut of_role: Vec<Vec<&Image>> = vec![Vec::new(); images.roles.len()];
    for image in &images.images {
        if let Some(lower) = lower.get_mut(image.role) {
            *lower = (*lower).max(image.rss_max_bytes);
        }
        if let Some(of_role) = of_role.get_mut(image.role) {
            of_role.push(image);
        }
    }
    let mut sorted = lower.clone();
    sorted.sort_unstable_by_key(|&bytes| Reverse(bytes));
    let least = sorted.get(count.saturating_sub(1)).copied().unwrap_or(0).max(1);
    let upper = of_role.into_iter().map(largest_sum);
    let mut candidates: Vec<usize> =
        upper.enumerate().filter(|(_, upper)| *upper >= least).map(|(role, _)| role).collect();
    if candidates.len() > MAX_CANDIDATES {
        let peaks = sampled_peaks(recording, images, &candidates)?;
        candidates.sort_by_key(|role| Reverse(peaks.get(role).copied().unwrap_or(0)));
        candidates.truncate(count);
    }
    Ok(candidates)
}

/// Returns the largest sum of the peaks of images of which each may have lived at the same time as the others.
fn largest_sum(images: Vec<&Image>) -> u64 {
    let mut changes: Vec<(i64, bool, u64)> = Vec::with_capacity(2 * images.len());
    for image in images {
        // At one instant what begins comes before what ends.
        changes.push((image.first_ms, false, image.rss_max_bytes));
        changes.push((image.last_ms, true, image.rss_max_bytes));
    }
    changes.sort_unstable();
    let (mut sum, mut largest) = (0_u64, 0);
    for (_, is_end, bytes) in changes {
        sum = if is_end { sum.saturating_sub(bytes) } else { sum.saturating_add(bytes) };
        largest = largest.max(sum);
    }
    largest
}

/// Returns the largest sum of samples at one tick of each of some roles.
fn sampled_peaks(
    recording: &Recording,
    images: &Images,
    roles: &[usize],
) -> io::Result<HashMap<usize, u64>> {
    let wanted: HashSet<usize> = roles.iter().copied().collect();
    let of_images = images.images.iter().filter(|image| wanted.contains(&image.role));
    let groups: HashMap<u64, Vec<usize>> =
        of_images.map(|image| (image.process, vec![image.role])).collect();
    let mut peaks: HashMap<usize, u64> = HashMap::new();
    sums_over_time(recording, &groups, |group| {
        let peak = peaks.entry(group.group).or_default();
        *peak = (*peak).max(group.sums.rss_bytes);
    })?;
    Ok(peaks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_did_not_meet_do_not_add_up() {
        let image = |first_ms, last_ms, rss_max_bytes| Image {
            process: 0,
            role: 0,
            first_ms,
            last_ms,
            rss_max_bytes,
        };
        let images = [image(0, 10, 5), image(11, 20, 7), image(20, 30, 4)];
        assert_eq!(largest_sum(images.iter().collect()), 11);
        assert_eq!(largest_sum(Vec::new()), 0);
    }
}
