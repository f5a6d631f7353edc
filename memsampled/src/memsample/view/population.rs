//! The processes that a view is about, from `/proc` or from a recording.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use memsample::parse::{Meminfo, parse_meminfo};
use memsample::{
    KnownPss, Metric, OpenProcess, ProcessFacts, ProcessReader, ReadError, RecordedInstant,
    Recording, Sampler, SamplerOptions, SweepCounts,
};
use regex::Regex;

use super::mapped::Mapped;
use super::table::{Column, Kind, Sum, Table};
use super::{At, By};
use crate::args::ViewArgs;
use crate::summary;

/// What is read of each live process apart from `status`. A file costs time, ours and the kernel's, so
/// what no column needs is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) rollup: bool,
    pub(super) command: bool,
    pub(super) role: bool,
    pub(super) cgroup: bool,
    /// How many mappings it has.
    pub(super) maps: bool,
}

/// One process, live or recorded. What is not known is `None`.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) ppid: Option<i32>,
    pub(super) uid: Option<u32>,
    /// The name of the user, or the number where this machine has no name for it.
    pub(super) user: Option<String>,
    pub(super) comm: String,
    pub(super) command: Option<String>,
    pub(super) role: Option<String>,
    pub(super) cgroup: Option<String>,
    /// How many mappings it has.
    pub(super) maps: Option<usize>,
    metrics: [Option<u64>; Metric::COUNT],
}

impl Process {
    pub(super) fn get(&self, metric: Metric) -> Option<u64> {
        self.metrics.get(metric as usize).copied().flatten()
    }
}

/// The processes that were asked for, and the memory of their machine.
pub(super) struct Population {
    /// Ascending by pid.
    pub(super) processes: Vec<Process>,
    pub(super) meminfo: Option<Meminfo>,
    /// The PSS of all processes together, and the memory of the machine at that instant.
    pub(super) known_pss: Option<(KnownPss, Meminfo)>,
    /// What the reader must know.
    pub(super) notes: Vec<String>,
}

impl Population {
    /// Reads the memory of a machine, and what is wanted of the processes that are asked for.
    pub(super) fn live(
        args: &ViewArgs,
        options: SamplerOptions,
        wanted: Wanted,
    ) -> anyhow::Result<Self> {
        let mut reader = ProcessReader::open(options)?;
        let pids = reader.pids();
        let mut population = Self::of_machine(&args.proc);
        let pids = match pids {
            Ok(pids) => pids,
            // A tree may hold what is known of the machine and nothing else.
            Err(_) if args.by == By::System && population.meminfo.is_some() => {
                return Ok(population);
            }
            Err(error) => return Err(error.into()),
        };
        let filter = Filter::new(args)?;
        let mut counts = SweepCounts::default();
        let mut pss = PssSum::default();
        let mut users = Users::default();
        for pid in pids {
            let process = reader.process(pid).and_then(|mut open| {
                read(&mut open, wanted, &filter, &mut users, &mut counts, &mut pss)
            });
            match process {
                Ok(process) => population.processes.extend(process),
                Err(error) => count(&mut counts, &error),
            }
        }
        let known = wanted.rollup.then(|| pss.known());
        population.known_pss = known.zip(population.meminfo);
        population.note_counts(counts);
        population.notes.extend(memsample::hidepid_note(&args.proc));
        population.note_filter(args);
        Ok(population)
    }

    /// Reads what the processes that are asked for map; of the processes nothing else is kept.
    pub(super) fn mapped(
        args: &ViewArgs,
        options: SamplerOptions,
    ) -> anyhow::Result<(Self, Mapped)> {
        let mut reader = ProcessReader::open(options)?;
        let pids = reader.pids()?;
        let mut population = Self::of_machine(&args.proc);
        let filter = Filter::new(args)?;
        let mut mapped = Mapped::default();
        let mut matched = 0_usize;
        for pid in pids {
            let Ok(mut open) = reader.process(pid) else {
                continue;
            };
            // Who may be asked for nothing but its memory is asked for no more.
            let rss_bytes = if filter.takes_all() {
                open.rss_bytes()
            } else {
                open.facts().map(|facts| {
                    let facts = facts?;
                    let command = filter.needs_command().then(|| open.command()).flatten();
                    let takes = filter.takes(pid, &facts, command.as_deref());
                    facts.memory.get(Metric::Rss).filter(|_| takes)
                })
            };
            let rss_bytes = match rss_bytes {
                Ok(Some(rss_bytes)) => rss_bytes,
                Ok(None) | Err(ReadError::Gone) => continue,
                Err(_) => {
                    mapped.unreadable += 1;
                    continue;
                }
            };
            matched += 1;
            if rss_bytes > Sampler::MAX_ROLLUP_RSS_BYTES {
                mapped.large += 1;
                continue;
            }
            match open.mappings() {
                Ok(mappings) => mapped.add(mappings),
                // It has ended, and maps nothing.
                Err(ReadError::Gone) => {}
                Err(_) => mapped.unreadable += 1,
            }
        }
        if mapped.unreadable > 0 {
            population.notes.push(format!(
                "the mappings of {} of {matched} processes could not be read: every sum lacks them",
                mapped.unreadable,
            ));
        }
        if mapped.large > 0 {
            population.notes.push(format!(
                "the mappings of {} processes were not read: they have more than {} GiB",
                mapped.large,
                Sampler::MAX_ROLLUP_RSS_BYTES >> 30,
            ));
        }
        population.notes.extend(memsample::hidepid_note(&args.proc));
        if !filter.takes_all() && matched == 0 {
            population.notes.push(NO_MATCH.to_owned());
        }
        Ok((population, mapped))
    }

    /// Reads the memory of a machine.
    fn of_machine(root: &Path) -> Self {
        let bytes = std::fs::read(root.join("meminfo")).ok();
        let meminfo = bytes.and_then(|bytes| parse_meminfo(&bytes).ok());
        Self { processes: Vec::new(), meminfo, known_pss: None, notes: Vec::new() }
    }

    /// Says why numbers are missing.
    fn note_counts(&mut self, counts: SweepCounts) {
        let SweepCounts { denied, unreadable, rollups_skipped, .. } = counts;
        if denied > 0 {
            let remedy = if rustix::process::geteuid().is_root() {
                ""
            } else {
                "; root sees those of other users"
            };
            self.notes.push(format!(
                "files of processes that the kernel refused to show: {denied}{remedy}"
            ));
        }
        if unreadable > 0 {
            self.notes.push(format!("files of processes that could not be read: {unreadable}"));
        }
        if rollups_skipped > 0 {
            self.notes.push(format!(
                "PSS and USS of {rollups_skipped} processes were not read: they have more than {} GiB, and would \
                 wait while the kernel counts",
                Sampler::MAX_ROLLUP_RSS_BYTES >> 30,
            ));
        }
    }

    /// Says of which sizes a person sees not all.
    pub(super) fn note_unknown(&mut self, table: &Table, chosen: &[Column], sums: bool) {
        let mut columns: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for column in chosen.iter().filter(|column| column.kind == Kind::Size) {
            let mut sum = Sum::default();
            table.values_of(column).for_each(|value| sum.add(value.as_sum()));
            if sum.unknown > 0 {
                columns.entry(sum.unknown).or_default().push(column.title());
            }
        }
        let all = self.processes.len() as u64;
        for (unknown, columns) in columns.into_iter().filter(|_| all > 0) {
            let columns = columns.join(", ");
            let mark = if sums && unknown < all { "; sums that lack them have ≥" } else { "" };
            self.notes.push(format!("not known of {unknown} of {all} processes: {columns}{mark}"));
        }
    }

    /// Takes the processes of a recording at an instant.
    pub(super) fn recorded(recording: &Recording, at: Option<At>, by: By) -> anyhow::Result<Self> {
        let range = recording.first_and_last_tick().context("cannot read the table of ticks")?;
        let (first, last) = range.context("the recording has no tick")?;
        let at = match at {
            None => last,
            Some(At::Time(time)) => time,
            Some(At::Offset(offset)) => {
                let offset = SignedDuration::try_from(offset).context("too long")?;
                first.checked_add(offset).context("--at is after the end of time")?
            }
        };
        let instant = recording.instant(at)?;
        let notes = notes_of(recording, &instant, by != By::System);
        let RecordedInstant { processes, meminfo, known_pss, .. } = instant;
        let mut users = Users::default();
        let processes = processes.into_iter().map(|process| Process {
            pid: process.pid,
            ppid: process.ppid,
            uid: process.uid,
            user: process.uid.map(|uid| users.name(uid)),
            metrics: Metric::ALL.map(|metric| process.get(metric)),
            role: process.role,
            comm: process.comm,
            command: process.cmdline,
            cgroup: process.cgroup,
            maps: None,
        });
        Ok(Self { processes: processes.collect(), meminfo, known_pss, notes })
    }

    /// Says which part of the mapped memory PSS explains.
    pub(super) fn note_coverage(&mut self) {
        let coverage = self.known_pss.as_ref();
        self.notes
            .extend(coverage.and_then(|(known, meminfo)| summary::coverage_line(known, meminfo)));
    }

    /// Keeps the processes that are asked for.
    pub(super) fn filter(&mut self, args: &ViewArgs) -> anyhow::Result<()> {
        let filter = Filter::new(args)?;
        self.processes.retain(|process| {
            filter.takes_user(process.uid)
                && filter.takes_name(&process.comm, process.command.as_deref())
        });
        self.note_filter(args);
        Ok(())
    }

    fn note_filter(&mut self, args: &ViewArgs) {
        let filtered = args.user.is_some() || args.filter.is_some();
        if filtered && self.processes.is_empty() {
            self.notes.push(NO_MATCH.to_owned());
        }
    }
}

const NO_MATCH: &str = "no process matches";

/// Which processes are asked for.
struct Filter<'a> {
    uid: Option<u32>,
    name: Option<&'a Regex>,
    /// This program, which has the expression among its arguments and is not meant.
    own_pid: Option<i32>,
}

impl<'a> Filter<'a> {
    fn new(args: &'a ViewArgs) -> anyhow::Result<Self> {
        let uid = match args.user.as_deref().map(|user| (user, user.parse())) {
            None => None,
            Some((_, Ok(uid))) => Some(uid),
            Some((user, Err(_))) => Some(
                uzers::get_user_by_name(user)
                    .with_context(|| format!("this machine has no user `{user}`"))?
                    .uid(),
            ),
        };
        let is_here = args.recording.is_none() && args.proc == Path::new("/proc");
        let own_pid = is_here.then(rustix::process::getpid).map(|pid| pid.as_raw_nonzero().get());
        Ok(Self { uid, name: args.filter.as_ref(), own_pid })
    }

    fn takes_all(&self) -> bool {
        self.uid.is_none() && self.name.is_none()
    }

    fn needs_command(&self) -> bool {
        self.name.is_some()
    }

    fn takes_user(&self, uid: Option<u32>) -> bool {
        self.uid.is_none_or(|wanted| uid == Some(wanted))
    }

    fn takes_name(&self, comm: &str, command: Option<&str>) -> bool {
        self.name.is_none_or(|name| {
            name.is_match(comm) || command.is_some_and(|command| name.is_match(command))
        })
    }

    /// Says whether a live process is asked for.
    fn takes(&self, pid: i32, facts: &ProcessFacts, command: Option<&str>) -> bool {
        let is_own = self.name.is_some() && self.own_pid == Some(pid);
        !is_own
            && self.takes_user(facts.uid)
            && (self.name.is_none() || self.takes_name(&facts.comm.to_string(), command))
    }
}

/// Reads a process; `None` where it has no memory or was not asked for.
fn read(
    open: &mut OpenProcess<'_>,
    wanted: Wanted,
    filter: &Filter<'_>,
    users: &mut Users,
    counts: &mut SweepCounts,
    pss: &mut PssSum,
) -> Result<Option<Process>, ReadError> {
    let Some(facts) = open.facts()? else {
        return Ok(None);
    };
    let command = (wanted.command || filter.needs_command()).then(|| open.command()).flatten();
    if !filter.takes(open.pid(), &facts, command.as_deref()) {
        return Ok(None);
    }
    counts.unreadable += u32::from(!facts.has_status);
    let mut metrics = Metric::ALL.map(|metric| facts.memory.get(metric));
    let rss_bytes = facts.memory.get(Metric::Rss).unwrap_or(0);
    if wanted.rollup && rss_bytes > Sampler::MAX_ROLLUP_RSS_BYTES {
        counts.rollups_skipped += 1;
        pss.add_unknown(rss_bytes);
    } else if wanted.rollup {
        match open.rollup() {
            Ok(rollup) => {
                for (place, metric) in metrics.iter_mut().zip(Metric::ALL) {
                    *place = rollup.get(metric).or(*place);
                }
                pss.add(rollup.get(Metric::Pss).unwrap_or(0));
            }
            Err(ReadError::Gone) => return Err(ReadError::Gone),
            Err(error) => {
                count(counts, &error);
                pss.add_unknown(rss_bytes);
            }
        }
    }
    Ok(Some(Process {
        pid: open.pid(),
        ppid: facts.ppid,
        uid: facts.uid,
        user: facts.uid.map(|uid| users.name(uid)),
        comm: facts.comm.to_string(),
        command,
        role: wanted.role.then(|| open.role(&facts.comm)),
        cgroup: wanted.cgroup.then(|| open.cgroup()).flatten().map(|path| memsample::text(&path)),
        maps: wanted.maps.then(|| open.count_mappings().ok()).flatten(),
        metrics,
    }))
}

/// Counts what could not be read. Who has ended has no memory.
fn count(counts: &mut SweepCounts, error: &ReadError) {
    match error {
        ReadError::Gone => {}
        ReadError::Denied => counts.denied += 1,
        _ => counts.unreadable += 1,
    }
}

/// The PSS of the processes so far, and how old each is.
#[derive(Default)]
struct PssSum {
    known: KnownPss,
    readings: Vec<(Instant, u64)>,
}

impl PssSum {
    fn add(&mut self, bytes: u64) {
        self.known.known_processes += 1;
        self.known.known_bytes = self.known.known_bytes.saturating_add(bytes);
        self.readings.push((Instant::now(), bytes));
    }

    fn add_unknown(&mut self, rss_bytes: u64) {
        self.known.unknown_processes += 1;
        self.known.unknown_rss_bytes = self.known.unknown_rss_bytes.saturating_add(rss_bytes);
    }

    fn known(&self) -> KnownPss {
        let ages = self.readings.iter().map(|(at, bytes)| (at.elapsed().as_millis(), *bytes));
        let oldest = ages.clone().map(|(age_ms, _)| age_ms).max();
        let weighted: u128 = ages.map(|(age_ms, bytes)| age_ms * u128::from(bytes)).sum();
        let mean = weighted.checked_div(u128::from(self.known.known_bytes));
        let ms = |ms: Option<u128>| ms.and_then(|ms| u64::try_from(ms).ok());
        KnownPss { oldest_ms: ms(oldest), mean_age_ms: ms(mean), ..self.known }
    }
}

/// Says which instant this is and what is missing of it.
fn notes_of(recording: &Recording, instant: &RecordedInstant, shows_pss: bool) -> Vec<String> {
    let RecordedInstant { ts, first, last, processes, dropped, nearest_pss, .. } = instant;
    let seconds = |of: &Timestamp| of.duration_since(*first).as_secs_f64();
    let mut notes = vec![format!(
        "`{}` at {ts:.3}, {:.1} s after its first tick of {:.1} s",
        recording.path().display(),
        seconds(ts),
        seconds(last),
    )];
    if *dropped > 0 {
        notes.push(format!("{dropped} samples of this tick are missing: they were dropped"));
    }
    let has_pss = processes.iter().any(|process| process.get(Metric::Pss).is_some());
    if let Some(nearest) = nearest_pss.as_ref().filter(|_| shows_pss && !has_pss) {
        notes.push(format!(
            "PSS was not read at this tick; it was at {:.1} s: --at {nearest:.3}",
            seconds(nearest)
        ));
    }
    notes
}

/// The names of users of this machine, each looked up once.
#[derive(Default)]
struct Users(HashMap<u32, String>);

impl Users {
    fn name(&mut self, uid: u32) -> String {
        let look_up = || match uzers::get_user_by_uid(uid) {
            Some(user) => user.name().to_string_lossy().into_owned(),
            None => uid.to_string(),
        };
        self.0.entry(uid).or_insert_with(look_up).clone()
    }
}
