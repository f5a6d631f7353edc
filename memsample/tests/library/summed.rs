//! Checks the sums over time of a recording against its rows.

use std::collections::{BTreeMap, HashMap};

use memsample::Recording;
use memsample::analysis::{
    GroupMemory, MemorySums, recording_roles, sums_over_time, tick_instants,
};

use crate::recorded::{batches, int64, string, timestamp};

/// Adds up each role and the whole machine row by row, and compares.
pub(crate) fn check_sums(recording: &Recording) {
    let roles = recording_roles(recording).unwrap();
    let names: Vec<&String> = roles.keys().collect();
    let all = names.len();
    let mut groups_of: HashMap<u64, Vec<usize>> = HashMap::new();
    for (group, images) in roles.values().enumerate() {
        for &image in images {
            groups_of.insert(image, vec![group, all]);
        }
    }
    let mut expected: BTreeMap<(i64, usize), MemorySums> = BTreeMap::new();
    for (ts_ms, role, [rss, anon, swap]) in rows_in_order(recording) {
        let group = names.iter().position(|&name| *name == role).unwrap();
        for group in [group, all] {
            let sums = expected.entry((ts_ms, group)).or_default();
            sums.processes += 1;
            sums.rss_bytes += rss;
            sums.anon_bytes += anon;
            sums.swap_bytes += swap;
        }
    }
    let mut found = Vec::new();
    sums_over_time(recording, &groups_of, |memory| found.push(memory)).unwrap();
    let expected: Vec<GroupMemory> = expected
        .into_iter()
        .map(|((ts_ms, group), sums)| GroupMemory { ts_ms, group, sums })
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let instants = tick_instants(recording).unwrap();
    assert_eq!(instants.len() as u64, recording.manifest().totals.ticks);
    assert!(instants.is_sorted_by(|a, b| a.ts_ms < b.ts_ms));
}

/// Returns the time, the role and the sizes of each sample in the order of time; of swap, what was read last.
fn rows_in_order(recording: &Recording) -> Vec<(i64, String, [u64; 3])> {
    let mut samples = Vec::new();
    for batch in batches(recording, "samples") {
        for row in 0..batch.num_rows() {
            let size = |name| int64(&batch, name, row).map(i64::unsigned_abs);
            let process = int64(&batch, "process", row).unwrap();
            let sizes = ["rss_bytes", "anon_bytes", "swap_bytes"].map(size);
            samples.push((timestamp(&batch, row), process, string(&batch, "role", row), sizes));
        }
    }
    samples.sort_by_key(|sample| (sample.0, sample.1));
    let mut swap_of: HashMap<i64, u64> = HashMap::new();
    let known = |(ts_ms, process, role, [rss, anon, swap]): (_, _, _, [Option<u64>; 3])| {
        if let Some(bytes) = swap {
            swap_of.insert(process, bytes);
        }
        let swap = swap_of.get(&process).copied().unwrap_or(0);
        (ts_ms, role, [rss.unwrap_or(0), anon.unwrap_or(0), swap])
    };
    samples.into_iter().map(known).collect()
}
