use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::time::Duration;

use arrow::datatypes::{Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;
use memsample::Recording;

use super::attribution::{Image, Trace, images, known, numbers};
use super::event::{BoundedBytes, RoleMemory, Sum, TestMemory};

/// Growth is told of an attempt that was sampled for this long, at least: a program that begins grows.
const MIN_GROWTH_MS: i64 = 10_000;
/// Roles of one attempt that are told, at most; the largest.
const MAX_ROLES: usize = 50;

/// Returns what each attempt used, from the recording in which all of them are.
///
/// Memory is taken for the sums of each attempt and role at each tick at which it was sampled.
///
/// # Errors
///
/// A table cannot be read.
pub(super) fn measure(recording: &Recording, traces: &[Trace]) -> io::Result<Vec<TestMemory>> {
    let images = images(recording, traces)?;
    let mut attempts: Vec<Attempt> = traces.iter().map(|_| Attempt::default()).collect();
    let by_process: HashMap<i64, &Image> =
        images.iter().map(|image| (image.process, image)).collect();
    for image in &images {
        if let Some(attempt) = attempts.get_mut(image.attempt) {
            attempt.add(image);
        }
    }
    add_samples(recording, &by_process, &mut attempts)?;
    add_exits(recording, &by_process, &mut attempts)?;
    let ticks = ticks(recording)?;
    let memories = attempts.into_iter().zip(traces);
    Ok(memories.map(|(attempt, trace)| attempt.into_memory(trace, &ticks)).collect())
}

/// What is collected of an attempt.
#[derive(Default)]
struct Attempt {
    /// Each process, and whether it has samples.
    processes: HashMap<(i32, u64), bool>,
    /// By tick.
    sums: BTreeMap<i64, Sums>,
    /// By role and tick, resident sets.
    roles: HashMap<String, Role>,
    samples: u64,
    /// The largest resident set that one of its processes is known to have had.
    largest: Option<u64>,
    /// The sum of what its processes can have had, if that is known of each.
    upper: Option<u64>,
    any: bool,
    counters: HashMap<(i32, u64), Counters>,
}

#[derive(Default)]
struct Role {
    sums: BTreeMap<i64, u64>,
    processes: HashSet<(i32, u64)>,
    largest: u64,
}

/// Sums over the processes of an attempt at one tick, in bytes.
#[derive(Clone, Copy, Default)]
struct Sums {
    rss: u64,
    anon: u64,
    /// Of those whose PSS was read at this tick.
    pss: u64,
    any_pss: bool,
}

/// What the kernel counts of a process since it began.
#[derive(Clone, Copy, Default)]
struct Counters {
    cpu_ns: u64,
    minflt: u64,
    majflt: u64,
}

impl Attempt {
    fn add(&mut self, image: &Image) {
        *self.processes.entry(image.identity).or_default() |= image.samples > 0;
        self.samples += image.samples;
        self.largest = self.largest.max(image.rss_lower);
        let before = if self.any { self.upper } else { Some(0) };
        self.upper = before.zip(image.rss_upper).map(|(sum, bytes)| sum.saturating_add(bytes));
        self.any = true;
        let role = self.roles.entry(image.role.clone()).or_default();
        role.processes.insert(image.identity);
        role.largest = role.largest.max(image.rss_lower.unwrap_or(0));
    }

    fn into_memory(self, trace: &Trace, ticks: &[Tick]) -> TestMemory {
        let peak = |of: fn(&Sums) -> u64| {
            // Of the largest, the first.
            self.sums.iter().map(|(&ts, sums)| (of(sums), ts)).max_by_key(|&(sum, ts)| (sum, -ts))
        };
        let bounded = |lower: u64, upper: Option<u64>| BoundedBytes {
            lower,
            upper: upper.map(|upper| upper.max(lower)),
        };
        let sum = |peak: Option<(u64, i64)>, upper, larger: Option<u64>| {
            let (sum, ts) = peak?;
            let at = Timestamp::from_millisecond(ts).ok()?;
            Some(Sum { peak: bounded(sum.max(larger.unwrap_or(0)), upper), at })
        };
        let is_pss_known = self.sums.values().any(|sums| sums.any_pss);
        // A part of a resident set is not larger than the whole.
        let rss = sum(peak(|sums| sums.rss), self.upper, self.largest);
        let anon = sum(peak(|sums| sums.anon), self.upper, None);
        let pss = sum(peak(|sums| sums.pss).filter(|_| is_pss_known), self.upper, None);
        let mut roles: Vec<RoleMemory> = self
            .roles
            .into_iter()
            .map(|(role, found)| {
                let lower = found.sums.into_values().max().unwrap_or(0).max(found.largest);
                let processes = found.processes.len() as u64;
                RoleMemory { role, rss_peak: bounded(lower, None), processes }
            })
            .collect();
        roles.sort_by(|a, b| (b.rss_peak.lower, &a.role).cmp(&(a.rss_peak.lower, &b.role)));
        roles.truncate(MAX_ROLES);
        let counters = self.counters.into_values().fold(Counters::default(), |sum, one| Counters {
            cpu_ns: sum.cpu_ns.saturating_add(one.cpu_ns),
            minflt: sum.minflt.saturating_add(one.minflt),
            majflt: sum.majflt.saturating_add(one.majflt),
        });
        let lived = trace.began_ns..=trace.ended_ns;
        let during = ticks.iter().filter(|tick| lived.contains(&tick.planned_ns));
        TestMemory {
            rss,
            pss,
            anon,
            growth_bytes_per_minute: growth(&self.sums),
            roles,
            processes: self.processes.len() as u64,
            unsampled: self.processes.values().filter(|&&sampled| !sampled).count() as u64,
            samples: self.samples,
            gaps: during.map(|tick| tick.late).sum(),
            cpu: Duration::from_nanos(counters.cpu_ns),
            minflt: counters.minflt,
            majflt: counters.majflt,
        }
    }
}

/// Returns the slope of anonymous memory by least squares, in bytes a minute.
fn growth(sums: &BTreeMap<i64, Sums>) -> Option<i64> {
    let (&first, &last) = (sums.keys().next()?, sums.keys().next_back()?);
    if last.saturating_sub(first) < MIN_GROWTH_MS {
        return None;
    }
    let count = sums.len() as f64;
    let minutes = |ts: i64| (ts - first) as f64 / 60_000.0;
    let mean = |of: &dyn Fn(i64, &Sums) -> f64| {
        sums.iter().map(|(&ts, sums)| of(ts, sums)).sum::<f64>() / count
    };
    let mean_minutes = mean(&|ts, _| minutes(ts));
    let mean_bytes = mean(&|_, sums| sums.anon as f64);
    let covariance =
        mean(&|ts, sums| (minutes(ts) - mean_minutes) * (sums.anon as f64 - mean_bytes));
    let variance = mean(&|ts, _| (minutes(ts) - mean_minutes).powi(2));
    Some((covariance / variance).round() as i64)
}

const SAMPLES: [&str; 9] = [
    "ts",
    "process",
    "rss_bytes",
    "anon_bytes",
    "pss_bytes",
    "minflt",
    "majflt",
    "utime_ns",
    "stime_ns",
];

fn add_samples(
    recording: &Recording,
    images: &HashMap<i64, &Image>,
    attempts: &mut [Attempt],
) -> io::Result<()> {
    for batch in recording.read_table("samples", &SAMPLES) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (rss, anon, pss) = (number("rss_bytes")?, number("anon_bytes")?, number("pss_bytes")?);
        let counters =
            [number("utime_ns")?, number("stime_ns")?, number("minflt")?, number("majflt")?];
        for (row, (&ts, process)) in ts.iter().zip(process).enumerate() {
            let Some(image) = images.get(process) else { continue };
            let Some(attempt) = attempts.get_mut(image.attempt) else { continue };
            let rss = known(rss, row).unwrap_or(0);
            let sums = attempt.sums.entry(ts).or_default();
            sums.rss = sums.rss.saturating_add(rss);
            sums.anon = sums.anon.saturating_add(known(anon, row).unwrap_or(0));
            if let Some(pss) = known(pss, row) {
                (sums.pss, sums.any_pss) = (sums.pss.saturating_add(pss), true);
            }
            if let Some(role) = attempt.roles.get_mut(&image.role) {
                let sum = role.sums.entry(ts).or_default();
                *sum = sum.saturating_add(rss);
            }
            if let [Some(utime), Some(stime), Some(minflt), Some(majflt)] =
                counters.map(|column| known(column, row))
            {
                let counters = attempt.counters.entry(image.identity).or_default();
                counters.at_least(utime.saturating_add(stime), minflt, majflt);
            }
        }
    }
    Ok(())
}

const EXITS: [&str; 5] = ["process", "utime_ns", "stime_ns", "minflt", "majflt"];

/// What the kernel told at the end is all that the process ever used.
fn add_exits(
    recording: &Recording,
    images: &HashMap<i64, &Image>,
    attempts: &mut [Attempt],
) -> io::Result<()> {
    for batch in recording.read_table("exits", &EXITS) {
        let batch = batch?;
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let number = |name| numbers::<Int64Type>(&batch, name);
        let (utime, stime) = (number("utime_ns")?, number("stime_ns")?);
        let (minflt, majflt) = (number("minflt")?, number("majflt")?);
        for (row, process) in process.iter().enumerate() {
            let Some(image) = images.get(process) else { continue };
            let Some(attempt) = attempts.get_mut(image.attempt) else { continue };
            let number = |column| known(column, row).unwrap_or(0);
            let counters = attempt.counters.entry(image.identity).or_default();
            let cpu_ns = number(utime).saturating_add(number(stime));
            counters.at_least(cpu_ns, number(minflt), number(majflt));
        }
    }
    Ok(())
}

impl Counters {
    /// Takes what was counted later, which is not less.
    fn at_least(&mut self, cpu_ns: u64, minflt: u64, majflt: u64) {
        self.cpu_ns = self.cpu_ns.max(cpu_ns);
        self.minflt = self.minflt.max(minflt);
        self.majflt = self.majflt.max(majflt);
    }
}

/// A tick, and the planned instants that it stands for and did not meet.
struct Tick {
    planned_ns: u64,
    late: u64,
}

fn ticks(recording: &Recording) -> io::Result<Vec<Tick>> {
    let mut ticks = Vec::new();
    for batch in recording.read_table("ticks", &["planned_ns", "late"]) {
        let batch = batch?;
        let planned = numbers::<Int64Type>(&batch, "planned_ns")?.values();
        let late = numbers::<arrow::datatypes::Int32Type>(&batch, "late")?.values();
        let pairs = planned.iter().zip(late);
        ticks.extend(pairs.map(|(planned, late)| Tick {
            planned_ns: planned.unsigned_abs(),
            late: u64::from(late.unsigned_abs()),
        }));
    }
    Ok(ticks)
}
