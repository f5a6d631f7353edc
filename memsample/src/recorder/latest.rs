//! The memory of the processes in a recording at its latest tick.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;

use super::projection::Projection;
use crate::identity::{Comm, ProcessId};
use crate::metric::Metric;

/// The memory of the processes in a recording at its latest tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The planned instant of the tick.
    pub ts: Timestamp,
    /// How many processes there are.
    pub processes: usize,
    /// The sum of their resident sets. Shared pages count for every process that maps them.
    pub rss_bytes: u64,
    /// The sum of their anonymous memory.
    pub anon_bytes: u64,
    /// The sum of the last known PSS of those of which it was ever read.
    pub pss_bytes: u64,
    /// How many those are.
    pub pss_processes: usize,
    /// The processes with the largest resident sets, largest first.
    pub largest: Vec<LatestProcess>,
    /// The roles with the largest sums of resident sets, largest first.
    pub roles: Vec<LatestRole>,
}

impl Latest {
    /// Sums up the processes of a recording, with the `count` largest processes and roles.
    pub(super) fn of(projection: &Projection, count: usize) -> Option<Self> {
        let (ts_ms, images) = projection.latest()?;
        let mut latest = Self {
            ts: Timestamp::from_millisecond(ts_ms).ok()?,
            processes: 0,
            rss_bytes: 0,
            anon_bytes: 0,
            pss_bytes: 0,
            pss_processes: 0,
            largest: Vec::new(),
            roles: Vec::new(),
        };
        let mut roles: HashMap<String, LatestRole> = HashMap::new();
        let mut largest = Vec::new();
        for (slot, image) in images {
            let get = |metric| image.metrics.get(metric);
            let (rss_bytes, anon_bytes) = (get(Metric::Rss), get(Metric::Anon));
            latest.processes += 1;
            latest.rss_bytes = latest.rss_bytes.saturating_add(rss_bytes);
            latest.anon_bytes = latest.anon_bytes.saturating_add(anon_bytes);
            if image.pss_read_ms.is_some() {
                latest.pss_bytes = latest.pss_bytes.saturating_add(get(Metric::Pss));
                latest.pss_processes += 1;
            }
            let role = image.identity.role.clone();
            let sum = roles.entry(role.clone()).or_insert(LatestRole {
                role,
                processes: 0,
                rss_bytes: 0,
                anon_bytes: 0,
            });
            sum.processes += 1;
            sum.rss_bytes = sum.rss_bytes.saturating_add(rss_bytes);
            sum.anon_bytes = sum.anon_bytes.saturating_add(anon_bytes);
            largest.push((Reverse(rss_bytes), slot.0, image));
        }
        largest.sort_unstable_by_key(|(rss_bytes, slot, _)| (*rss_bytes, *slot));
        latest.largest = largest
            .into_iter()
            .take(count)
            .map(|(Reverse(rss_bytes), _, image)| LatestProcess {
                process: image.process(),
                pid: image.identity.pid,
                comm: image.comm,
                role: image.identity.role.clone(),
                test: image.test().map(str::to_owned),
                rss_bytes,
                anon_bytes: image.metrics.get(Metric::Anon),
                pss_bytes: image.pss_read_ms.map(|_| image.metrics.get(Metric::Pss)),
            })
            .collect();
        latest.roles = roles.into_values().collect();
        latest.roles.sort_unstable_by(|a, b| (b.rss_bytes, &a.role).cmp(&(a.rss_bytes, &b.role)));
        latest.roles.truncate(count);
        Some(latest)
    }
}

/// A process at the latest tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestProcess {
    /// The key of its row in `processes`.
    pub process: ProcessId,
    /// The process id.
    pub pid: i32,
    /// The command name.
    pub comm: Comm,
    /// What it does; see [`role`](crate::role()).
    pub role: String,
    /// The test it belongs to.
    pub test: Option<String>,
    /// The resident set.
    pub rss_bytes: u64,
    /// The anonymous memory.
    pub anon_bytes: u64,
    /// The last known PSS.
    pub pss_bytes: Option<u64>,
}

/// All processes of one role at the latest tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRole {
    /// The role.
    pub role: String,
    /// How many processes have it.
    pub processes: usize,
    /// The sum of their resident sets.
    pub rss_bytes: u64,
    /// The sum of their anonymous memory.
    pub anon_bytes: u64,
}
