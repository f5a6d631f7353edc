//! The processes that a view is about, from `/proc` or from a recording.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use memsample::parse::{Meminfo, parse_meminfo};
use memsample::{
    Files, Identity, KnownPss, Metric, RecordedInstant, Recording, Sampler, SamplerOptions,
    SweepCounts,
};

use super::table::{Column, Kind, Sum, Table};
use super::{At, By};
use crate::args::ViewArgs;
use crate::summary;

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
    metrics: [Option<u64>; Metric::COUNT],
    /// `None` for a recorded process.
    pub(super) identity: Option<Identity>,
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
    /// Reads the memory of a machine, and `files` of all its processes.
    pub(super) fn live(
        root: &Path,
        sampler: SamplerOptions,
        files: Files,
        by: By,
    ) -> anyhow::Result<Self> {
        let mut population =
            Self { processes: Vec::new(), meminfo: None, known_pss: None, notes: Vec::new() };
        let bytes = std::fs::read(root.join("meminfo")).ok();
        population.meminfo = bytes.and_then(|bytes| parse_meminfo(&bytes).ok());
        let mut sampler = match Sampler::new(sampler) {
            Ok(sampler) => sampler,
            // A tree may hold what is known of the machine and nothing else.
            Err(_) if by == By::System && population.meminfo.is_some() => return Ok(population),
            Err(error) => return Err(error.into()),
        };
        let mut users = Users::default();
        let snapshot = sampler.sweep(files);
        for sample in snapshot.samples() {
            let identity = sample.identity();
            population.processes.push(Process {
                pid: identity.pid,
                ppid: Some(identity.ppid),
                uid: identity.uid,
                user: identity.uid.map(|uid| users.name(uid)),
                comm: sample.comm().to_string(),
                command: Some(identity.cmdline_text()).filter(|line| !line.is_empty()),
                role: Some(identity.role.clone()),
                cgroup: identity.cgroup.as_deref().map(memsample::text),
                metrics: Metric::ALL.map(|metric| sample.get(metric)),
                identity: Some(identity.clone()),
            });
        }
        population.known_pss = snapshot.known_pss().zip(population.meminfo);
        population.note_counts(snapshot.counts());
        population.notes.extend(memsample::hidepid_note(root));
        Ok(population)
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
            identity: None,
        });
        Ok(Self { processes: processes.collect(), meminfo, known_pss, notes })
    }

    /// Says which part of the mapped memory PSS explains.
    pub(super) fn note_coverage(&mut self) {
        let coverage = self.known_pss.as_ref();
        self.notes
            .extend(coverage.and_then(|(known, meminfo)| summary::coverage_line(known, meminfo)));
    }

    /// Keeps what the user asked for.
    pub(super) fn filter(&mut self, args: &ViewArgs) -> anyhow::Result<()> {
        if let Some(user) = &args.user {
            let uid = match user.parse() {
                Ok(uid) => uid,
                Err(_) => uzers::get_user_by_name(user)
                    .with_context(|| format!("this machine has no user `{user}`"))?
                    .uid(),
            };
            self.processes.retain(|process| process.uid == Some(uid));
        }
        if let Some(filter) = &args.filter {
            // The expression is on the command line of this program too.
            let own = (args.run.is_none() && args.proc == Path::new("/proc"))
                .then(rustix::process::getpid)
                .map(|pid| pid.as_raw_nonzero().get());
            self.processes.retain(|process| Some(process.pid) != own);
            self.processes.retain(|process| {
                filter.is_match(&process.comm)
                    || process.command.as_ref().is_some_and(|command| filter.is_match(command))
            });
        }
        let filtered = args.user.is_some() || args.filter.is_some();
        if filtered && self.processes.is_empty() {
            self.notes.push("no process matches".to_owned());
        }
        Ok(())
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
