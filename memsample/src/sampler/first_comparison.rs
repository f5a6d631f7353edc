//! The comparison of all processes with `/proc`, before a sweep trusts what a BPF program reads.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use memsample_bpf::{Row, Walk};

use super::apply::counters;
use super::entry::{Addresses, Entry};
use super::file_metrics::status_metrics;
use super::read_file::read_file;
use super::reading::Reader;
use super::row_values::{addresses_of, counters_of, start_of, statm_of, status_of};
use crate::error::ReadError;
use crate::metric::Metric;
use crate::parse::{Statm, parse_stat, parse_statm, parse_status};
use crate::units::ClockTicks;

/// A process that differs is compared so often: only what differs each time is told.
const ROUNDS: usize = 3;
/// On a machine where everything runs, one is waited for that rests.
const MAX_ROUNDS: usize = 20;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

/// All that a sweep takes of a process, as it is in a row and in the files.
struct Shown {
    statm: Statm,
    status: Option<[(Metric, u64); 9]>,
    counters: Option<[(Metric, u64); 4]>,
    start: ClockTicks,
    uid: Option<u64>,
    addresses: Addresses,
}

/// Compares all that a sweep reads of every process that rests, and returns how many processes have no row: the kernel
/// does not show them to BPF, and their files are read.
///
/// # Errors
///
/// What differs, or that nothing could be compared, as a sentence.
pub(super) fn compare_all(
    walk: &mut Walk,
    reader: &mut Reader,
    entries: &[Entry],
) -> Result<usize, String> {
    let mut compared = 0;
    let mut without_row = 0;
    let mut suspects: Option<Vec<&Entry>> = None;
    for round in 0..MAX_ROUNDS {
        let chosen = suspects.unwrap_or_else(|| entries.iter().collect());
        let before = rows_by_pid(walk)?;
        let shown: Vec<_> = chosen
            .iter()
            .filter(|entry| entry.process().is_some_and(|process| process.thread.is_none()))
            .filter_map(|entry| Some((*entry, shown_in_proc(reader, entry.pid).ok()?)))
            .collect();
        let after = rows_by_pid(walk)?;
        let mut differing = Vec::new();
        let mut reason = String::new();
        for (entry, shown) in shown {
            match compare(&before, &after, entry, shown, reader) {
                Compared::Equal => compared += 1,
                Compared::Unknown => {}
                Compared::WithoutRow if round == 0 => without_row += 1,
                Compared::WithoutRow => {}
                Compared::Different(what) => {
                    reason = what;
                    differing.push(entry);
                }
            }
        }
        match (differing.is_empty(), compared) {
            (true, 0) => thread::sleep(BETWEEN_ROUNDS),
            (true, _) => return Ok(without_row),
            (false, _) if round + 1 >= ROUNDS => return Err(reason),
            (false, _) => {}
        }
        suspects = (!differing.is_empty()).then_some(differing);
    }
    Err("no process rested so that the rows could be compared with /proc".to_owned())
}

impl Shown {
    /// Returns what is the first thing that differs, and its values.
    fn difference_from(&self, other: &Self) -> Option<(&'static str, [u64; 2])> {
        let differs = |((what, ours), (_, theirs)): ((_, _), (_, _))| {
            (ours != theirs).then_some((what, [ours, theirs]))
        };
        self.values().into_iter().zip(other.values()).find_map(differs)
    }

    /// Returns all values by their names.
    fn values(&self) -> Vec<(&'static str, u64)> {
        let Statm { size, resident, shared, text, data } = self.statm;
        let mut values = vec![
            ("size (pages)", size.0),
            ("resident (pages)", resident.0),
            ("shared (pages)", shared.0),
            ("text (pages)", text.0),
            ("data (pages)", data.0),
            ("start (ticks)", self.start.0),
            ("user", self.uid.unwrap_or(u64::MAX)),
            ("code address", self.addresses.code),
            ("stack address", self.addresses.stack),
            ("details", u64::from(self.status.is_some()) + u64::from(self.counters.is_some())),
        ];
        let metrics = self.status.iter().flatten().chain(self.counters.iter().flatten());
        values.extend(metrics.map(|&(metric, value)| (metric.name(), value)));
        values
    }
}

enum Compared {
    Equal,
    /// It ran meanwhile, began or ended.
    Unknown,
    Different(String),
    /// It was there all the time, and in neither pass.
    WithoutRow,
}

fn compare(
    before: &HashMap<u32, Row>,
    after: &HashMap<u32, Row>,
    entry: &Entry,
    shown: Shown,
    reader: &mut Reader,
) -> Compared {
    let pid = entry.pid;
    let key = pid.unsigned_abs();
    let (Some(before), Some(after)) = (before.get(&key), after.get(&key)) else {
        // It may have begun or ended. What was and is there is in both passes.
        let is_still_there = shown_in_proc(reader, pid).is_ok_and(|now| now.start == shown.start);
        return match (before.get(&key), after.get(&key)) {
            (None, None) if is_still_there => Compared::WithoutRow,
            _ => Compared::Unknown,
        };
    };
    if !after.is_at_rest_since(before) || !after.has_memory() {
        return Compared::Unknown;
    }
    let counted = counted_by_bpf(after, &shown, reader);
    match counted.difference_from(&shown) {
        None => Compared::Equal,
        Some((what, [by_bpf, in_proc])) => Compared::Different(format!(
            "process {pid} at rest has {what} {by_bpf} by BPF, and {in_proc} in /proc"
        )),
    }
}

fn counted_by_bpf(row: &Row, shown: &Shown, reader: &Reader) -> Shown {
    let status = status_of(row, &reader.host);
    Shown {
        statm: statm_of(row, &reader.host),
        status: status_metrics(&status).ok(),
        counters: counters_of(row, row.cpu_times(), &reader.host),
        start: start_of(row, &reader.host),
        uid: status.euid,
        addresses: match shown.addresses.hidden() {
            // The kernel hides them from who reads the file.
            true => shown.addresses,
            false => addresses_of(row),
        },
    }
}

fn shown_in_proc(reader: &mut Reader, pid: i32) -> Result<Shown, ReadError> {
    let Reader { root, buffer, host, .. } = reader;
    let directory = root.open_process(pid)?;
    let statm = parse_statm(read_file(root, buffer, &directory, c"statm")?)?;
    let status = parse_status(read_file(root, buffer, &directory, c"status")?)?;
    let (status, uid) = (status_metrics(&status).ok(), status.euid);
    let stat = parse_stat(read_file(root, buffer, &directory, c"stat")?)?;
    Ok(Shown {
        statm,
        status,
        counters: counters(&stat, host).ok(),
        start: stat.starttime,
        uid,
        addresses: Addresses::of(&stat),
    })
}

fn rows_by_pid(walk: &mut Walk) -> Result<HashMap<u32, Row>, String> {
    let pass = walk.pass().map_err(|error| format!("the BPF program does not run: {error}"))?;
    Ok(pass.rows.iter().map(|row| (row.pid, *row)).collect())
}
