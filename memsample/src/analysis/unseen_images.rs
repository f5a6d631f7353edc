//! Images that were never looked at, of which only the execs that ended them are known.

use std::collections::{HashMap, HashSet};
use std::io;

use arrow_array::Array;
use arrow_array::types::Int32Type;

use super::marked_spans::ATTEMPT_MARK;
use crate::columns::{numbers, strings};
use crate::recording::{ImageRow, Recording};

/// Where an image is among those of its process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ImagePlace {
    exec: i32,
    process: u64,
    ppid: i32,
}

/// Returns how many images of the same process came right before each of `rows` and were never looked at, where there
/// were any.
///
/// What runs between a fork and the first exec does not count: its memory is that of its parent. Of a process
/// that was there before the recording the execs before are not known, and did not happen in it.
pub(super) fn unseen_before(
    recording: &Recording,
    rows: &[ImageRow],
) -> io::Result<HashMap<u64, u64>> {
    let process = |row: &ImageRow| (row.pid, row.start_ns);
    let wanted: HashSet<_> = rows.iter().filter(|row| row.exec > 0).map(process).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let launchers = launchers(recording)?;
    let mut images: HashMap<_, Vec<ImagePlace>> = HashMap::new();
    recording.for_each_image(|row| {
        if wanted.contains(&process(&row)) {
            let ImageRow { exec, process: number, ppid, .. } = row;
            images.entry(process(&row)).or_default().push(ImagePlace {
                exec,
                process: number,
                ppid,
            });
        }
    })?;
    Ok(images.into_values().flat_map(|images| gaps(images, &launchers)).collect())
}

/// Returns the gaps in the numbers of the execs of one process.
fn gaps(mut images: Vec<ImagePlace>, launchers: &HashSet<i32>) -> Vec<(u64, u64)> {
    images.sort_unstable();
    let mut before = None;
    let mut gaps = Vec::new();
    for ImagePlace { exec, process, ppid } in images {
        // The program that a launcher starts is the second exec of its child.
        let expected = match before {
            // A damaged recording may have any number.
            Some(before) => i32::saturating_add(before, 1),
            None => 1 + i32::from(launchers.contains(&ppid)),
        };
        if let Ok(unseen @ 1..) = u64::try_from(exec.saturating_sub(expected)) {
            gaps.push((process, unseen));
        }
        before = Some(exec);
    }
    gaps
}

/// Returns the process ids of the launchers of attempts, which their marks are about: the first exec of the children of
/// a launcher is its own.
fn launchers(recording: &Recording) -> io::Result<HashSet<i32>> {
    let mut launchers = HashSet::new();
    for batch in recording.read_table("marks", &["name", "pid"]) {
        let batch = batch?;
        let pid = numbers::<Int32Type>(&batch, "pid")?;
        let name = strings(&batch, "name")?;
        let is_attempt =
            |&row: &usize| pid.is_valid(row) && name.value(row).starts_with(ATTEMPT_MARK);
        launchers.extend((0..pid.len()).filter(is_attempt).map(|row| pid.value(row)));
    }
    Ok(launchers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_left_out_is_an_image_that_was_never_looked_at() {
        let of = |execs: &[i32]| {
            let places = execs.iter().zip(0..);
            let images = places.map(|(&exec, process)| ImagePlace { exec, process, ppid: 1 });
            gaps(images.collect(), &HashSet::from([2]))
        };
        assert_eq!(of(&[0, 1, 2]), []);
        // After a fork.
        assert_eq!(of(&[1, 2]), []);
        assert_eq!(of(&[2]), [(0, 1)]);
        assert_eq!(of(&[0, 3]), [(1, 2)]);
        // The launcher executes itself first.
        let launched =
            |exec| gaps(vec![ImagePlace { exec, process: 7, ppid: 2 }], &HashSet::from([2]));
        assert_eq!(launched(2), []);
        assert_eq!(launched(3), [(7, 1)]);
        // Numbers of a damaged recording.
        assert_eq!(of(&[i32::MIN, 0]), [(1, i32::MAX.unsigned_abs().into())]);
        assert_eq!(of(&[i32::MAX, i32::MAX]).len(), 1);
    }
}
