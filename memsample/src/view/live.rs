//! The processes of a live `/proc` or of a captured copy.

use std::path::Path;
use std::time::Instant;

use super::by::By;
use super::error::ViewError;
use super::note::Note;
use super::options::ViewOptions;
use super::population::Population;
use super::process::Process;
use super::user_names::UserNames;
use crate::error::ReadError;
use crate::metric::Metric;
use crate::parse::{Meminfo, parse_meminfo};
use crate::process_reader::{OpenProcess, ProcessFacts, ProcessReader};
use crate::sampler::{Sampler, SamplerOptions};
use crate::schema::KnownPss;

/// Reads the memory of a machine, and of the processes that match the files that the columns need.
pub(super) fn read(
    sampler: SamplerOptions,
    options: &ViewOptions,
    user_name: &dyn Fn(u32) -> Option<String>,
) -> Result<Population, ViewError> {
    let root = sampler.root_path().to_owned();
    let mut reader = ProcessReader::open(sampler)?;
    let pids = reader.pids();
    let meminfo = machine(&root);
    let pids = match pids {
        Ok(pids) => pids,
        // A copy may hold the files of the machine and no process.
        Err(_) if options.by == By::System && meminfo.is_some() => {
            return Ok(Population {
                processes: Vec::new(),
                meminfo,
                known_pss: None,
                notes: Vec::new(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let mut reading = Reading {
        options,
        wanted: Wanted::by(options),
        users: UserNames::new(user_name),
        pss: PssSum::default(),
        denied: 0,
        unreadable: 0,
        rollups_skipped: 0,
        stuck: Vec::new(),
    };
    let mut processes = Vec::new();
    for pid in pids {
        match reader.process(pid).and_then(|mut open| reading.process(&mut open)) {
            Ok(process) => processes.extend(process),
            Err(error) => reading.count(pid, &error),
        }
    }
    let mut notes = reading.notes();
    notes.extend(crate::hidepid_note(&root).map(Note::HidePid));
    if options.is_filtered() && processes.is_empty() {
        notes.push(Note::NoMatch);
    }
    let known_pss = reading.wanted.rollup.then(|| reading.pss.known());
    Ok(Population { processes, meminfo, known_pss: known_pss.zip(meminfo), notes })
}

/// Reads the memory of a machine.
pub(super) fn machine(root: &Path) -> Option<Meminfo> {
    let bytes = std::fs::read(root.join("meminfo")).ok()?;
    parse_meminfo(&bytes).ok()
}

/// Returns whether a live process matches.
pub(super) fn matches(
    options: &ViewOptions,
    pid: i32,
    facts: &ProcessFacts,
    command: Option<&str>,
) -> bool {
    !options.excepts(pid) && options.matches(facts.uid, &facts.comm.to_string(), command)
}

fn age_if_known(metrics: &[Option<u64>; Metric::COUNT], metric: Metric) -> Option<u64> {
    metrics.get(metric as usize).copied().flatten().map(|_| 0)
}

/// What is read of each process apart from `status`. Each file costs time here and in the kernel, so a
/// file that no column needs is not read.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    rollup: bool,
    command: bool,
    role: bool,
    cgroup: bool,
    /// The number of its mappings.
    maps: bool,
}

impl Wanted {
    fn by(options: &ViewOptions) -> Self {
        Self {
            rollup: options.needs_rollup(),
            command: options.has_column("command"),
            role: options.by == By::Role || options.has_column("role"),
            cgroup: options.by == By::Cgroup || options.has_column("cgroup"),
            maps: options.has_column("maps"),
        }
    }
}

/// One pass over the processes, and the number of files that it could not read.
struct Reading<'a> {
    options: &'a ViewOptions,
    wanted: Wanted,
    users: UserNames<'a>,
    pss: PssSum,
    denied: u32,
    unreadable: u32,
    rollups_skipped: u32,
    /// Processes of which a reading did not come back.
    stuck: Vec<i32>,
}

impl Reading<'_> {
    /// Reads a process; `None` where it has no memory or does not match.
    fn process(&mut self, open: &mut OpenProcess<'_>) -> Result<Option<Process>, ReadError> {
        let wanted = self.wanted;
        let Some(facts) = open.facts()? else {
            return Ok(None);
        };
        let needs_command = wanted.command || self.options.matches_command();
        let command = match needs_command {
            true => self.unless_stuck(open.pid(), open.command()).flatten(),
            false => None,
        };
        if !matches(self.options, open.pid(), &facts, command.as_deref()) {
            return Ok(None);
        }
        self.unreadable += u32::from(!facts.has_status);
        let mut metrics = Metric::ALL.map(|metric| facts.memory.get(metric));
        if wanted.rollup {
            self.rollup(open, facts.memory.get(Metric::Rss).unwrap_or(0), &mut metrics)?;
        }
        let cgroup = match wanted.cgroup {
            true => self.unless_stuck(open.pid(), open.cgroup()).flatten(),
            false => None,
        };
        let role = match wanted.role {
            true => self.unless_stuck(open.pid(), open.role(&facts.comm)),
            false => None,
        };
        let maps = match wanted.maps {
            true => self.unless_stuck(open.pid(), open.count_mappings()),
            false => None,
        };
        Ok(Some(Process {
            pid: open.pid(),
            ppid: facts.ppid,
            uid: facts.uid,
            user: facts.uid.map(|uid| self.users.get(uid)),
            comm: facts.comm.to_string(),
            command,
            role,
            cgroup: cgroup.map(|path| crate::text(&path)),
            maps,
            // What is known was read now.
            pss_age_ms: age_if_known(&metrics, Metric::Pss),
            detail_age_ms: age_if_known(&metrics, Metric::Hwm),
            metrics,
        }))
    }

    /// Reads `smaps_rollup`, unless the process is so large that it would wait while the kernel counts.
    fn rollup(
        &mut self,
        open: &mut OpenProcess<'_>,
        rss_bytes: u64,
        metrics: &mut [Option<u64>; Metric::COUNT],
    ) -> Result<(), ReadError> {
        if rss_bytes > Sampler::MAX_ROLLUP_RSS_BYTES {
            self.rollups_skipped += 1;
            self.pss.add_unknown(rss_bytes);
            return Ok(());
        }
        match open.rollup() {
            Ok(rollup) => {
                for (place, metric) in metrics.iter_mut().zip(Metric::ALL) {
                    *place = rollup.get(metric).or(*place);
                }
                self.pss.add(rollup.get(Metric::Pss).unwrap_or(0));
            }
            Err(ReadError::Gone) => return Err(ReadError::Gone),
            Err(error) => {
                self.count(open.pid(), &error);
                self.pss.add_unknown(rss_bytes);
            }
        }
        Ok(())
    }

    /// Counts a file that could not be read. A process that has ended has no memory, and is not counted.
    fn count(&mut self, pid: i32, error: &ReadError) {
        match error {
            ReadError::Gone => {}
            ReadError::Stuck if self.stuck.last() == Some(&pid) => {}
            ReadError::Stuck => self.stuck.push(pid),
            ReadError::Denied => self.denied += 1,
            _ => self.unreadable += 1,
        }
    }

    /// Returns what was read, and notes the process where that did not come back. Other errors of these files are
    /// those of a process that has ended or may not be looked at, and null says so.
    fn unless_stuck<T>(&mut self, pid: i32, outcome: Result<T, ReadError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error @ ReadError::Stuck) => {
                self.count(pid, &error);
                None
            }
            Err(_) => None,
        }
    }

    fn notes(&self) -> Vec<Note> {
        let counted = [
            (self.denied, Note::FilesDenied(self.denied)),
            (self.unreadable, Note::FilesUnreadable(self.unreadable)),
            (self.rollups_skipped, Note::RollupsSkipped(self.rollups_skipped)),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note);
        let stuck = (!self.stuck.is_empty()).then(|| Note::Stuck(self.stuck.clone()));
        counted.chain(stuck).collect()
    }
}

/// The PSS of the processes so far, and when each was read.
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
