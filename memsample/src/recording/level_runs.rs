//! Small numbers in Parquet's encoding `RLE`: those that follow on themselves as runs, the others side by side in bits.

use super::delta_runs::{pack, put_unsigned};

/// A number, and how often it follows on itself.
pub(super) type Run = (u32, usize);

/// As many numbers stand side by side, or a multiple of it.
const GROUP: usize = 8;

/// Adds to the last run, or begins another.
pub(super) fn add(runs: &mut Vec<Run>, value: u32, times: usize) {
    match runs.last_mut() {
        Some((last, count)) if *last == value => *count += times,
        _ => runs.push((value, times)),
    }
}

/// Where runs are longer than this on average, they cost less than what stands side by side.
const SHORT: usize = 3;

/// Appends runs of numbers of `width` bits.
pub(super) fn put_runs(bytes: &mut Vec<u8>, runs: &[Run], width: u32) {
    let numbers: usize = runs.iter().map(|&(_, times)| times).sum();
    if width == 0 || numbers > SHORT * runs.len() {
        runs.iter().for_each(|run| put_run(bytes, run, width));
        return;
    }
    let mut beside = Vec::new();
    for &(value, mut times) in runs {
        let filling = times.min(beside.len().next_multiple_of(GROUP) - beside.len());
        beside.extend(std::iter::repeat_n(value, filling));
        times -= filling;
        if times < GROUP {
            beside.extend(std::iter::repeat_n(value, times));
            continue;
        }
        put_beside(bytes, &mut beside, width);
        put_run(bytes, &(value, times), width);
    }
    put_beside(bytes, &mut beside, width);
}

fn put_run(bytes: &mut Vec<u8>, &(value, times): &Run, width: u32) {
    put_unsigned(bytes, (times as u64) << 1);
    bytes.extend(value.to_le_bytes().into_iter().take(width.div_ceil(8) as usize));
}

/// Appends numbers side by side, and zeros to fill the last group.
fn put_beside(bytes: &mut Vec<u8>, numbers: &mut Vec<u32>, width: u32) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    numbers.resize(groups * GROUP, 0);
    put_unsigned(bytes, (groups as u64) << 1 | 1);
    pack(bytes, numbers.drain(..).map(u64::from), width);
}
