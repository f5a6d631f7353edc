//! How far control groups were from their limits.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};

use crate::columns::{known, numbers, strings};
use crate::recording::Recording;

/// Returns how much each control group could still take at an instant until it, or one above it, was at its limit, in
/// bytes; groups without a limit are left out.
///
/// `at_ms` is in milliseconds since 1970; the last reading that is not later counts. The page cache, which the kernel
/// counts, could be given back.
///
/// # Errors
///
/// The table cannot be read.
pub fn left_to_limits(recording: &Recording, at_ms: i64) -> io::Result<HashMap<String, u64>> {
    let columns = ["ts", "cgroup", "cgroup_current_bytes", "cgroup_limit_bytes"];
    let mut last: HashMap<String, (i64, Option<u64>)> = HashMap::new();
    for batch in recording.read_table_between("cgroups", &columns, i64::MIN..=at_ms) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let groups = strings(&batch, "cgroup")?;
        let current = numbers::<Int64Type>(&batch, "cgroup_current_bytes")?;
        let limit = numbers::<Int64Type>(&batch, "cgroup_limit_bytes")?;
        for (row, &ts_ms) in ts.iter().enumerate().filter(|(_, ts)| **ts <= at_ms) {
            let left = known(limit, row).zip(known(current, row));
            let left = left.map(|(limit, current)| limit.saturating_sub(current));
            let group = groups.value(row);
            match last.get_mut(group) {
                Some(before) if before.0 > ts_ms => {}
                Some(before) => *before = (ts_ms, left),
                None => {
                    last.insert(group.to_owned(), (ts_ms, left));
                }
            }
        }
    }
    let own = |group: &Path| last.get(group.to_str()?).and_then(|(_, left)| *left);
    let left = |group: &String| Path::new(group).ancestors().filter_map(own).min();
    Ok(last.keys().filter_map(|group| Some((group.clone(), left(group)?))).collect())
}
