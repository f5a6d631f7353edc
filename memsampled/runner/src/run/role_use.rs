//! What the roles of one attempt used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;
use memsample::analysis::{SharedMaps, attempt_roles};
use memsample::columns::{numbers, strings};

/// Growth is not computed from samples that span less, or from fewer: the same as for a whole test.
const MIN_GROWTH_MS: i64 = 20_000;
const MIN_GROWTH_SAMPLES: usize = 240;

/// What the roles of one attempt used, beside their resident sets, from a recording of it alone.
#[derive(Clone, Debug, Default)]
pub(super) struct RoleUses {
    by_role: HashMap<String, RoleUse>,
    /// The role of what each process was last.
    role_of: HashMap<i32, String>,
}

/// Peaks of sums over the processes of a role at one tick, and how the last of them grew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoleUse {
    pub(super) anon_bytes: u64,
    /// What those had at least whose proportional set was read at the same tick; `None` where it was of none.
    pub(super) pss_bytes: Option<u64>,
    /// `None` where the samples are too few or span too short a time.
    pub(super) growth_bytes_per_minute: Option<i64>,
}

/// Sums of one role at one tick.
#[derive(Default)]
struct RoleSums {
    anon_bytes: u64,
    pss_bytes: Option<u64>,
    largest_pss_bytes: u64,
    /// What may be in two of these readings, since a process ended or gave it back while the others were read.
    twice_bytes: u64,
}

/// A reading of which it is not known yet what the process has given back after it.
struct OpenReading<'a> {
    process: i64,
    role: &'a str,
    ts: i64,
    rss_bytes: u64,
    /// The part of its PSS that is of pages which others map too.
    shared_bytes: u64,
}

impl RoleUses {
    /// Sums up a recording in which nothing else is.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let mut uses = Self::default();
        let mut roles: HashMap<i64, String> = HashMap::new();
        for batch in recording.read_table("processes", &["process", "pid", "role"]) {
            let batch = batch?;
            let process = numbers::<Int64Type>(&batch, "process")?;
            let pid = numbers::<Int32Type>(&batch, "pid")?;
            let role = strings(&batch, "role")?;
            for ((process, pid), role) in process.iter().zip(pid.iter()).zip(role.iter()) {
                let (Some(process), Some(pid), Some(role)) = (process, pid, role) else { continue };
                roles.insert(process, role.to_owned());
                // Images are in the order in which they began.
                uses.role_of.insert(pid, role.to_owned());
            }
        }
        // What a fork shares with its parent until it runs a program is the parent's.
        let counted: HashSet<i64> = attempt_roles(recording)?
            .into_iter()
            .flat_map(|role| role.images)
            .filter_map(|image| i64::try_from(image).ok())
            .collect();
        roles.retain(|process, _| counted.is_empty() || counted.contains(process));
        let role_names: HashMap<u64, &str> =
            roles.iter().map(|(process, role)| (process.unsigned_abs(), role.as_str())).collect();
        let role_of = |process| role_names.get(&process).map_or(&[][..], std::slice::from_ref);
        let counted_once = SharedMaps::read(recording)?.counted_once(role_of);
        let mut sums: HashMap<&str, BTreeMap<i64, RoleSums>> = HashMap::new();
        let columns = ["ts", "process", "rss_bytes", "anon_bytes", "pss_bytes", "uss_bytes"];
        let mut open: Option<OpenReading<'_>> = None;
        for batch in recording.read_table("samples", &columns) {
            let batch = batch?;
            let ts = numbers::<TimestampMillisecondType>(&batch, "ts")?;
            let process = numbers::<Int64Type>(&batch, "process")?;
            let rss = numbers::<Int64Type>(&batch, "rss_bytes")?;
            let anon = numbers::<Int64Type>(&batch, "anon_bytes")?;
            let pss = numbers::<Int64Type>(&batch, "pss_bytes")?;
            let uss = numbers::<Int64Type>(&batch, "uss_bytes")?;
            let sizes = rss.iter().zip(anon.iter()).zip(pss.iter().zip(uss.iter()));
            for ((ts, process), ((rss, anon), (pss, uss))) in
                ts.iter().zip(process.iter()).zip(sizes)
            {
                let (ts, process) = (ts.unwrap_or(0), process.unwrap_or(0));
                let rss_bytes = rss.unwrap_or(0).unsigned_abs();
                // The rows of a process are adjacent, in the order of time.
                if let Some(open) = open.take() {
                    open.close(if open.process == process { rss_bytes } else { 0 }, &mut sums);
                }
                let Some(role) = roles.get(&process) else { continue };
                // Another process that has the same memory map counts for it.
                if counted_once.leaves_out(role.as_str(), process.unsigned_abs(), ts) {
                    continue;
                }
                let sums = sums.entry(role).or_default().entry(ts).or_default();
                sums.anon_bytes += anon.unwrap_or(0).unsigned_abs();
                if let Some(pss_bytes) = pss.map(i64::unsigned_abs) {
                    *sums.pss_bytes.get_or_insert(0) += pss_bytes;
                    sums.largest_pss_bytes = sums.largest_pss_bytes.max(pss_bytes);
                    let uss_bytes = uss.map_or(0, i64::unsigned_abs);
                    let shared_bytes = pss_bytes.saturating_sub(uss_bytes);
                    open = Some(OpenReading { process, role, ts, rss_bytes, shared_bytes });
                }
            }
        }
        if let Some(open) = open {
            open.close(0, &mut sums);
        }
        uses.by_role =
            sums.into_iter().map(|(role, sums)| (role.to_owned(), RoleUse::of(&sums))).collect();
        Ok(uses)
    }

    /// Returns what a role used; `None` where nothing of it was sampled.
    pub(super) fn of(&self, role: &str) -> Option<RoleUse> {
        self.by_role.get(role).copied()
    }

    /// Returns the role of a process, where it is known.
    pub(super) fn role_of(&self, pid: i32) -> Option<&str> {
        self.role_of.get(&pid).map(String::as_str)
    }
}

impl<'a> OpenReading<'a> {
    /// Notes what the process may have given back while others were read, by its resident set at the next tick. Of that
    /// no more than its part of what it shared is in the readings of others.
    fn close(&self, rss_after_bytes: u64, sums: &mut HashMap<&'a str, BTreeMap<i64, RoleSums>>) {
        let given_back = self.rss_bytes.saturating_sub(rss_after_bytes);
        if let Some(sums) = sums.get_mut(self.role).and_then(|sums| sums.get_mut(&self.ts)) {
            sums.twice_bytes += given_back.min(self.shared_bytes);
        }
    }
}

impl RoleSums {
    /// Returns what the processes had at least.
    fn certain_pss_bytes(&self) -> Option<u64> {
        let once = self.pss_bytes?.saturating_sub(self.twice_bytes);
        Some(once.max(self.largest_pss_bytes))
    }
}

impl RoleUse {
    fn of(sums: &BTreeMap<i64, RoleSums>) -> Self {
        Self {
            anon_bytes: sums.values().map(|sums| sums.anon_bytes).max().unwrap_or(0),
            pss_bytes: sums.values().filter_map(RoleSums::certain_pss_bytes).max(),
            growth_bytes_per_minute: growth(sums),
        }
    }
}

/// The slope of anonymous memory by least squares, in bytes a minute.
fn growth(sums: &BTreeMap<i64, RoleSums>) -> Option<i64> {
    let (&first, &last) = (sums.keys().next()?, sums.keys().next_back()?);
    if last.saturating_sub(first) < MIN_GROWTH_MS || sums.len() < MIN_GROWTH_SAMPLES {
        return None;
    }
    let count = sums.len() as f64;
    let minutes = |ts: i64| (ts - first) as f64 / 60_000.0;
    let mean_minutes = sums.keys().map(|&ts| minutes(ts)).sum::<f64>() / count;
    let mean_bytes = sums.values().map(|sums| sums.anon_bytes as f64).sum::<f64>() / count;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (&ts, sums) in sums {
        let off = minutes(ts) - mean_minutes;
        covariance += off * (sums.anon_bytes as f64 - mean_bytes);
        variance += off * off;
    }
    // What is too large for the integer becomes the largest one.
    Some((covariance / variance).round() as i64)
}

impl RoleUses {
    /// Makes one of what is known, for tests of who judges by it.
    #[cfg(test)]
    pub(super) fn known(role: &str, used: RoleUse, pid: i32) -> Self {
        Self {
            by_role: HashMap::from([(role.to_owned(), used)]),
            role_of: HashMap::from([(pid, role.to_owned())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_the_slope_of_enough_samples_over_a_time_long_enough() {
        let line = |samples: i64, apart_ms: i64| -> BTreeMap<i64, RoleSums> {
            let point = |sample: i64| {
                let anon_bytes = 1000 + 5 * sample.unsigned_abs();
                (sample * apart_ms, RoleSums { anon_bytes, ..RoleSums::default() })
            };
            (0..samples).map(point).collect()
        };
        assert_eq!(growth(&line(240, 100)), Some(3000));
        assert_eq!(growth(&line(239, 100)), None);
        assert_eq!(growth(&line(240, 10)), None);
        assert_eq!(RoleUse::of(&line(10, 100)).anon_bytes, 1045);
    }

    #[test]
    fn what_a_process_shared_and_gave_back_counts_once() {
        let certain = |readings: [(u64, u64); 2]| {
            let mut sums = HashMap::from([("a", BTreeMap::from([(1, RoleSums::default())]))]);
            let of_tick = sums.get_mut("a").unwrap().get_mut(&1).unwrap();
            of_tick.pss_bytes = Some(150 + 300);
            of_tick.largest_pss_bytes = 300;
            for (process, (shared_bytes, rss_after_bytes)) in (1..).zip(readings) {
                let open = OpenReading { process, role: "a", ts: 1, rss_bytes: 300, shared_bytes };
                open.close(rss_after_bytes, &mut sums);
            }
            RoleUse::of(&sums["a"]).pss_bytes
        };
        // The first shared all with the second, and ended after its reading.
        assert_eq!(certain([(150, 0), (0, 300)]), Some(300));
        assert_eq!(certain([(150, 300), (0, 300)]), Some(450));
        // The second ended, and had shared nothing.
        assert_eq!(certain([(150, 300), (0, 0)]), Some(450));
    }
}
