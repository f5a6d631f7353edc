//! What was left to the limits of control groups and of the machine at an instant.

use std::collections::BTreeMap;
use std::io;

use arrow_array::Array;
use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use memsample::Recording;
use memsample::columns::{numbers, strings};
use memsample::parse::Meminfo;
use serde::{Deserialize, Serialize};

/// A limit, and what was used of it. At an instant not later than that of the largest processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitThen {
    /// The control group; `None` of the machine.
    pub cgroup: Option<String>,
    /// The limit, in bytes: of a group the smallest of its own and of those above it; of the machine all its memory.
    pub limit_bytes: u64,
    /// What was charged to the group; of the machine, what was not available without swapping. In bytes.
    pub used_bytes: u64,
    /// How long before the instant this was read, in milliseconds. `None` of the machine: a tenth of a second and a tick
    /// at most.
    pub age_ms: Option<u64>,
}

/// Returns the limits of some control groups, as they were last read before an instant, and of the machine; adds what is
/// not known of them to `not_seen`.
pub(crate) fn limits(
    recording: &Recording,
    cgroups: &[String],
    ts_ms: i64,
    meminfo: Option<Meminfo>,
    not_seen: &mut Vec<String>,
) -> io::Result<Vec<LimitThen>> {
    let mut last: BTreeMap<String, (i64, LimitThen)> = BTreeMap::new();
    const COLUMNS: [&str; 4] =
        ["ts", "cgroup", "cgroup_current_bytes", "cgroup_effective_limit_bytes"];
    for batch in recording.read_table_between("cgroups", &COLUMNS, i64::MIN..=ts_ms) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?;
        let names = strings(&batch, "cgroup")?;
        let column = |name| numbers::<Int64Type>(&batch, name).ok();
        let columns = column("cgroup_current_bytes").zip(column("cgroup_effective_limit_bytes"));
        // A recording of an older version has no such column, and no limit of a group is known.
        let Some((used, limit)) = columns else {
            not_seen.push(
                "the limits of control groups: the recording is of an older version, which did not read them"
                    .to_owned(),
            );
            break;
        };
        for row in 0..batch.num_rows() {
            let (name, at) = (names.value(row), ts.value(row));
            let is_later = last.get(name).is_none_or(|(before, _)| *before <= at);
            let is_known = used.is_valid(row) && limit.is_valid(row);
            if at > ts_ms || !is_later || !is_known || !cgroups.iter().any(|it| it == name) {
                continue;
            }
            let then = LimitThen {
                cgroup: Some(name.to_owned()),
                limit_bytes: limit.value(row).unsigned_abs(),
                used_bytes: used.value(row).unsigned_abs(),
                age_ms: Some(ts_ms.abs_diff(at)),
            };
            last.insert(name.to_owned(), (at, then));
        }
    }
    let mut limits: Vec<LimitThen> = last.into_values().map(|(_, limit)| limit).collect();
    let bytes = meminfo.and_then(|it| Some((it.mem_total?.bytes()?, it.mem_available?.bytes()?)));
    limits.extend(bytes.map(|(total, available)| LimitThen {
        cgroup: None,
        limit_bytes: total,
        used_bytes: total.saturating_sub(available),
        age_ms: None,
    }));
    Ok(limits)
}
