//! Images that were never looked at, of which only the execs that ended them are known.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::recording::{ImageRow, Recording};

/// Where an image is among those of its process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ImagePlace {
    exec: i32,
    process: u64,
}

/// Returns how many images of the same process came right before each of `rows` and were never looked at, where there
/// were any.
///
/// What runs between a fork and the first exec does not count: its memory is that of its parent. Of a process
/// that was there before the recording the execs before are not known, and did not happen in it.
///
/// Where what starts the program of a test was itself executed, not forked, it is one of them: where no tick saw it, it
/// cannot be told from a program that another replaced.
pub(super) fn unseen_before(
    recording: &Recording,
    rows: &[ImageRow],
) -> io::Result<HashMap<u64, u64>> {
    let process = |row: &ImageRow| (row.pid, row.start_ns);
    let wanted: HashSet<_> = rows.iter().filter(|row| row.exec > 0).map(process).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let mut images: HashMap<_, Vec<ImagePlace>> = HashMap::new();
    recording.for_each_image(|row| {
        if wanted.contains(&process(&row)) {
            let place = ImagePlace { exec: row.exec, process: row.process };
            images.entry(process(&row)).or_default().push(place);
        }
    })?;
    Ok(images.into_values().flat_map(gaps).collect())
}

/// Returns the gaps in the numbers of the execs of one process.
fn gaps(mut images: Vec<ImagePlace>) -> Vec<(u64, u64)> {
    images.sort_unstable();
    let mut before = None;
    let mut gaps = Vec::new();
    for ImagePlace { exec, process } in images {
        // A damaged recording may have any number.
        let expected = before.map_or(1, |before| i32::saturating_add(before, 1));
        if let Ok(unseen @ 1..) = u64::try_from(exec.saturating_sub(expected)) {
            gaps.push((process, unseen));
        }
        before = Some(exec);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_left_out_is_an_image_that_was_never_looked_at() {
        let of = |execs: &[i32]| {
            let places = execs.iter().zip(0..);
            gaps(places.map(|(&exec, process)| ImagePlace { exec, process }).collect())
        };
        assert_eq!(of(&[0, 1, 2]), []);
        // After a fork.
        assert_eq!(of(&[1, 2]), []);
        assert_eq!(of(&[2]), [(0, 1)]);
        assert_eq!(of(&[0, 3]), [(1, 2)]);
        // Numbers of a damaged recording.
        assert_eq!(of(&[i32::MIN, 0]), [(1, i32::MAX.unsigned_abs().into())]);
        assert_eq!(of(&[i32::MAX, i32::MAX]).len(), 1);
    }
}
