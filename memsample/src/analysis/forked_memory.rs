//! What a process may own between its fork and its first exec: in no lower bound, since it is its parent's, and in every
//! upper one, since each of the two may write to it and have a copy.
//!
//! Together a parent and its child have at most what the parent had at the fork, and what page faults of the two brought
//! since. So as long as the parent lives and counts, the child adds no more than these. After that it may be the only one
//! that has what they shared.

use std::collections::{HashMap, HashSet};
use std::io;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};

use super::bound::{Bound, Source};
use super::lifetimes::Lifetimes;
use super::sampled_image::SampledImage;
use super::shared_maps::SharedMaps;
use crate::columns::{known, numbers, page_faults, runs};
use crate::recording::Recording;
use crate::units::START_STEP_NS;

/// What a page fault brings: around a page of a file the kernel maps those that are in memory (`fault_around_bytes`).
const FAULT_BYTES: u64 = 64 << 10;
/// The same with huge pages. They count until a child was seen last, not for the rest of its time, less than a tick.
const HUGE_FAULT_BYTES: u64 = 2 << 20;

/// A process between its fork and its first exec.
pub(super) struct ForkedLife {
    /// The image of its parent, where that certainly lived for all of it, and what it adds to what this one has.
    pub(super) beside: Option<(u64, Bound)>,
    /// Its first program that is known.
    pub(super) program: u64,
    /// Pid and start.
    pub(super) process: (i32, u64),
    /// When it may have been, in nanoseconds since boot.
    pub(super) lived_ns: (u64, u64),
    /// What it had at most, whoever shared it; `None` where nothing bounds it.
    pub(super) upper: Option<Bound>,
}

/// A child, its parent's image, and what both have been through.
struct Forked<'a> {
    /// The image between fork and exec, where it was sampled.
    image: Option<&'a SampledImage>,
    /// The first that comes after it, and all of them.
    program: &'a SampledImage,
    programs: &'a [&'a SampledImage],
    /// Those of the parent that may have forked it.
    parents: Vec<&'a SampledImage>,
    lived_ns: (u64, u64),
}

/// Returns the lives between fork and exec of the processes whose parent has an image among `images`, of which `borrowed`
/// are those that were sampled then.
pub(super) fn forked_lives(
    recording: &Recording,
    lifetimes: &Lifetimes<'_>,
    images: &[SampledImage],
    borrowed: &HashSet<u64>,
    maps: &SharedMaps,
    error_bytes: Option<u64>,
) -> io::Result<Vec<ForkedLife>> {
    let mut ordered: Vec<&SampledImage> = images.iter().collect();
    ordered.sort_unstable_by_key(|image| {
        let row = &image.row;
        (row.pid, row.start_ns, row.exec, row.process)
    });
    let processes: Vec<&[&SampledImage]> =
        ordered.chunk_by(|one, other| process(one) == process(other)).collect();
    let forked: Vec<Forked<'_>> =
        processes.iter().filter_map(|own| forked(own, &processes, lifetimes, borrowed)).collect();
    if forked.is_empty() {
        return Ok(Vec::new());
    }
    let faults = Faults::read(recording, lifetimes, &forked)?;
    Ok(forked.iter().map(|forked| forked.life(lifetimes, &faults, maps, error_bytes)).collect())
}

fn bound(bytes: u64) -> Bound {
    Bound { bytes, source: Source::SumOfMembers }
}

fn process(image: &SampledImage) -> (i32, u64) {
    (image.row.pid, image.row.start_ns)
}

fn forked<'a>(
    own: &'a [&'a SampledImage],
    processes: &[&'a [&'a SampledImage]],
    lifetimes: &Lifetimes<'_>,
    borrowed: &HashSet<u64>,
) -> Option<Forked<'a>> {
    let first = *own.first()?;
    let row = &first.row;
    // Of the processes that had the pid, the parent is the last one that began before. The start of who was sampled is up to
    // a step too early, and that in an exit record is not.
    let start_ns = row.start_ns.saturating_add(START_STEP_NS);
    let parent = processes.partition_point(|images| {
        images.first().is_some_and(|parent| process(parent) <= (row.ppid, start_ns))
    });
    let parents = *processes.get(parent.checked_sub(1)?)?;
    let is_parent = |parent: &SampledImage| {
        parent.row.pid == row.ppid && row.pid != row.ppid && parent.row.test == row.test
    };
    let (image, programs) = match borrowed.contains(&row.process) {
        true => (Some(first), own.get(1..)?),
        // It was seen before it ran a program: it counts as what it is.
        false if row.exec == 0 && lifetimes.has_all_forks() => return None,
        // Nothing of it was in the recording.
        false if row.start_ns < lifetimes.begin_ns() => return None,
        false => (None, own),
    };
    let program = *programs.first()?;
    let lived_ns = image.map_or_else(|| lifetimes.before(program), |image| lifetimes.of(image));
    let parents: Vec<_> = parents.iter().copied().filter(|parent| is_parent(parent)).collect();
    (!parents.is_empty()).then_some(Forked { image, program, programs, parents, lived_ns })
}

impl Forked<'_> {
    fn life(
        &self,
        lifetimes: &Lifetimes<'_>,
        faults: &Faults,
        maps: &SharedMaps,
        error_bytes: Option<u64>,
    ) -> ForkedLife {
        let program = self.program;
        let own_faults = self.own_faults(faults);
        // Who shares the map of the parent writes to it with faults of its own.
        let since_fork = self.parents.iter().find_map(|parent| {
            let faults = faults.between(parent, self.start_ns(), self.lived_ns.1, lifetimes)?;
            maps.map_of(parent.row.process).is_none().then_some((*parent, faults))
        });
        let brought = own_faults.map(|all| self.brought(all, error_bytes));
        // All that it has: what the kernel noted, or what its parent had and it brought.
        let noted = match self.image {
            Some(image) => image.upper(error_bytes),
            None => program.unseen_upper(error_bytes),
        };
        let of_parent = self.parents.iter().map(|parent| parent.upper(error_bytes));
        let of_parent = of_parent.reduce(|one, other| {
            one.zip(other).map(|(one, other)| if one.bytes > other.bytes { one } else { other })
        });
        let inherited = of_parent.flatten().zip(brought);
        let inherited = inherited.map(|(parent, own)| parent.bytes.saturating_add(own));
        let whole = [noted.map(|bound| bound.bytes), inherited].into_iter().flatten().min();
        // What it does not share with its parent.
        let beside = since_fork.zip(brought).map(|((parent, since), own)| {
            let own = own.saturating_add(since.saturating_mul(FAULT_BYTES));
            (parent.row.process, bound(whole.map_or(own, |whole| whole.min(own))))
        });
        ForkedLife {
            beside,
            program: program.row.process,
            process: process(program),
            lived_ns: self.lived_ns,
            upper: whole.map(bound),
        }
    }

    fn start_ns(&self) -> u64 {
        self.lived_ns.0
    }

    /// Returns how many bytes so many page faults of its own brought at most.
    fn brought(&self, all: u64, error_bytes: Option<u64>) -> u64 {
        let seen = self.image.and_then(|image| Some((image.hwm?, error_bytes?)));
        let Some((hwm, error_bytes)) = seen else {
            let is_sampled = self.image.is_some();
            return all.saturating_mul(if is_sampled { HUGE_FAULT_BYTES } else { FAULT_BYTES });
        };
        let until_seen = hwm.faults.unwrap_or(0).min(all);
        let seen = until_seen.saturating_mul(HUGE_FAULT_BYTES);
        let rest = all.saturating_sub(until_seen).saturating_mul(FAULT_BYTES);
        seen.min(hwm.bytes.saturating_add(error_bytes)).saturating_add(rest)
    }

    /// Returns its page faults until it was a program, or until later.
    fn own_faults(&self, faults: &Faults) -> Option<u64> {
        let first = self.programs.iter().find_map(|image| faults.first_of(image));
        first.or_else(|| self.programs.iter().find_map(|image| image.exit_faults))
    }
}

/// Page faults of processes since their start, at some instants.
struct Faults {
    /// By image. Those that nobody asks for are left out.
    readings: HashMap<u64, Vec<Reading>>,
    page_bytes: u64,
}

/// Page faults of a process since its start, and its anonymous memory in bytes, at a tick.
#[derive(Clone, Copy)]
struct Reading {
    ts_ms: i64,
    faults: u64,
    anon_bytes: Option<u64>,
}

impl Faults {
    /// Reads those that were first of the programs, and those of the parents around the lives of their children.
    fn read(
        recording: &Recording,
        lifetimes: &Lifetimes<'_>,
        forked: &[Forked<'_>],
    ) -> io::Result<Self> {
        let mut asked: HashMap<u64, Vec<i64>> = HashMap::new();
        for forked in forked {
            let (begin_ns, end_ns) = forked.lived_ns;
            let instants = [lifetimes.read_before(begin_ns), Some(lifetimes.ts_ms(end_ns))];
            for parent in &forked.parents {
                asked.entry(parent.row.process).or_default().extend(instants.iter().flatten());
            }
            for program in forked.programs {
                asked.entry(program.row.process).or_default();
            }
        }
        asked.values_mut().for_each(|instants| instants.sort_unstable());
        let mut readings: HashMap<u64, Vec<Reading>> = HashMap::new();
        let columns = ["ts", "process", "minflt", "majflt", "anon_bytes"];
        for batch in recording.read_table("samples", &columns) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let (minor, major) =
                (numbers::<Int64Type>(&batch, "minflt")?, numbers::<Int64Type>(&batch, "majflt")?);
            let anon = numbers::<Int64Type>(&batch, "anon_bytes")?;
            for (process, rows) in runs(process) {
                let Some(instants) = asked.get(&process) else { continue };
                let of_image = readings.entry(process).or_default();
                for (row, &ts_ms) in rows.clone().zip(ts.get(rows).unwrap_or_default()) {
                    if let Some(faults) = page_faults(minor, major, row) {
                        let anon_bytes = known(anon, row);
                        push(of_image, instants, Reading { ts_ms, faults, anon_bytes });
                    }
                }
            }
        }
        let page_bytes = recording.manifest().provenance.machine.page_bytes.unwrap_or(4096);
        Ok(Self { readings, page_bytes: page_bytes.max(1) })
    }

    fn first_of(&self, image: &SampledImage) -> Option<u64> {
        self.readings.get(&image.row.process)?.first().map(|reading| reading.faults)
    }

    /// Returns the faults of an image between two instants, or more, but for those that made it larger; `None` where it may
    /// have begun after the first or have ended before the last.
    fn between(
        &self,
        image: &SampledImage,
        begin_ns: u64,
        end_ns: u64,
        lifetimes: &Lifetimes<'_>,
    ) -> Option<u64> {
        let readings = self.readings.get(&image.row.process)?;
        // A reading is up to a tick later than its tick says.
        let begin_ms = lifetimes.read_before(begin_ns)?;
        let before = readings.iter().rfind(|reading| reading.ts_ms <= begin_ms)?;
        let end_ms = lifetimes.ts_ms(end_ns);
        let Some(after) = readings.iter().find(|reading| reading.ts_ms > end_ms) else {
            let outlived = image.exit_ns? >= end_ns.saturating_add(START_STEP_NS);
            let at_exit = image.exit_faults.filter(|_| outlived && lifetimes.knows_ends());
            return Some(at_exit?.saturating_sub(before.faults));
        };
        // A fault that makes a process larger does not take what it shares: of anonymous memory it brings a page.
        let grown = after.anon_bytes.zip(before.anon_bytes);
        let grown = grown.map_or(0, |(after, before)| after.saturating_sub(before));
        let faults = after.faults.saturating_sub(before.faults);
        Some(faults.saturating_sub(grown / self.page_bytes))
    }
}

/// Adds a reading to those before, of which the last is left out where no instant is next to it. The first one stays.
fn push(readings: &mut Vec<Reading>, instants: &[i64], reading: Reading) {
    if let [.., before, _] = readings.as_slice() {
        let from = instants.partition_point(|&instant_ms| instant_ms < before.ts_ms);
        let until = instants.partition_point(|&instant_ms| instant_ms <= reading.ts_ms);
        if from == until {
            readings.pop();
        }
    }
    readings.push(reading);
}
