//! What processes map, added up by name.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::by::By;
use super::column::{Column, columns};
use super::live::{machine, matches};
use super::note::Note;
use super::options::ViewOptions;
use super::table::Table;
use super::value::{Sum, Value};
use crate::error::ReadError;
use crate::metric::Metric;
use crate::parse::{Mapping, Meminfo, Smaps};
use crate::process_reader::{OpenProcess, ProcessReader};
use crate::sampler::{Sampler, SamplerOptions};
use crate::units::Kibibytes;

/// Reads what the processes that match map. Keeps nothing else of a process.
pub(super) fn read(
    sampler: SamplerOptions,
    options: &ViewOptions,
) -> io::Result<(Table, Option<Meminfo>, Vec<Note>)> {
    let root = sampler.root_path().to_owned();
    let mut reader = ProcessReader::open(sampler)?;
    let pids = reader.pids()?;
    let mut mapped = Mapped::default();
    let mut matched = 0_usize;
    let mut looked_at = 0_usize;
    let mut too_large = 0_usize;
    for pid in pids {
        let mut open = match reader.process(pid) {
            Ok(open) => open,
            Err(ReadError::Gone) => continue,
            Err(_) => {
                mapped.unreadable += 1;
                looked_at += 1;
                continue;
            }
        };
        let rss_bytes = match rss_if_matching(&mut open, options) {
            Ok(Some(rss_bytes)) => rss_bytes,
            Ok(None) | Err(ReadError::Gone) => continue,
            Err(error) => {
                // Whether it would match is not known: it is one of those that were looked at.
                looked_at += 1;
                mapped.fail(pid, &error);
                continue;
            }
        };
        matched += 1;
        looked_at += 1;
        if rss_bytes > Sampler::MAX_ROLLUP_RSS_BYTES {
            too_large += 1;
            continue;
        }
        match open.mappings() {
            Ok(mappings) => mapped.add(mappings),
            Err(error) => mapped.fail(pid, &error),
        }
    }
    let mut notes = Vec::new();
    if !mapped.stuck.is_empty() {
        notes.push(Note::Stuck(std::mem::take(&mut mapped.stuck)));
    }
    if mapped.unreadable > 0 {
        notes.push(Note::MappingsUnreadable { processes: mapped.unreadable, of: looked_at });
    }
    if too_large > 0 {
        notes.push(Note::MappingsSkipped(too_large));
    }
    notes.extend(crate::hidepid_note(&root).map(Note::HidePid));
    if options.is_filtered() && matched == 0 {
        notes.push(Note::NoMatch);
    }
    Ok((mapped.into_table(), machine(&root), notes))
}

/// Returns the RSS of a process that matches. Where all match, reads no more than the RSS.
fn rss_if_matching(
    open: &mut OpenProcess<'_>,
    options: &ViewOptions,
) -> Result<Option<u64>, ReadError> {
    if options.matches_all() {
        return open.rss_bytes();
    }
    let Some(facts) = open.facts()? else {
        return Ok(None);
    };
    let command = match options.matches_command() {
        true => open.command()?,
        false => None,
    };
    let matches = matches(options, open.pid(), &facts, command.as_deref());
    Ok(facts.memory.get(Metric::Rss).filter(|_| matches))
}

/// The mappings of all processes.
#[derive(Default)]
struct Mapped {
    by_path: HashMap<Vec<u8>, MappingSums>,
    /// Processes so far.
    processes: usize,
    /// Processes whose mappings could not be read or understood.
    unreadable: usize,
    /// Processes of which a reading did not come back.
    stuck: Vec<i32>,
}

impl Mapped {
    /// Notes why the mappings of a process are missing.
    fn fail(&mut self, pid: i32, error: &ReadError) {
        match error {
            // It has ended, and maps nothing.
            ReadError::Gone => {}
            ReadError::Stuck => self.stuck.push(pid),
            _ => self.unreadable += 1,
        }
    }

    /// Adds the mappings of a process, or none of them if one cannot be understood.
    fn add(&mut self, mappings: Smaps<'_>) {
        let Ok(mappings) = mappings.collect::<Result<Vec<_>, _>>() else {
            self.unreadable += 1;
            return;
        };
        self.processes += 1;
        for mapping in mappings {
            let sums = match self.by_path.get_mut(mapping.path) {
                Some(sums) => sums,
                None => self.by_path.entry(mapping.path.to_vec()).or_default(),
            };
            sums.add(self.processes, &mapping);
        }
    }

    /// Makes a row of each file and of each other name that is mapped.
    fn into_table(self) -> Table {
        let columns = columns(By::Mapping);
        let row = |(name, sums): (String, MappingSums)| {
            let value = |column: &Column| match column.name {
                "processes" => Value::count(sums.processes),
                "mappings" => Value::count(sums.mappings),
                "swap_bytes" => Value::size(sums.swap.known),
                "uss_bytes" => Value::size(sums.uss.known),
                "pss_bytes" => Value::size(sums.pss.known),
                "rss_bytes" => Value::size(sums.rss.known),
                "vsize_bytes" => Value::size(sums.vsize.known),
                "uss_mean_bytes" => sums.mean(sums.uss),
                "pss_mean_bytes" => sums.mean(sums.pss),
                "rss_mean_bytes" => sums.mean(sums.rss),
                _ => Value::Text(name.clone()),
            };
            columns.iter().map(value).collect()
        };
        Table { columns, rows: self.into_names().into_iter().map(row).collect() }
    }

    fn into_names(self) -> BTreeMap<String, MappingSums> {
        let name = |path: &[u8]| match path {
            b"" => "[anonymous]".to_owned(),
            path => crate::text(path),
        };
        self.by_path.into_iter().map(|(path, sums)| (name(&path), sums)).collect()
    }
}

/// The sums over all processes for one file, or for other memory with one name.
#[derive(Default)]
struct MappingSums {
    processes: usize,
    mappings: usize,
    swap: Sum,
    uss: Sum,
    pss: Sum,
    rss: Sum,
    vsize: Sum,
    /// The process that was counted last, by its number.
    last_process: usize,
}

impl MappingSums {
    fn add(&mut self, process: usize, mapping: &Mapping<'_>) {
        self.processes +=
            usize::from(std::mem::replace(&mut self.last_process, process) != process);
        self.mappings += 1;
        let add = |sum: &mut Sum, size: Option<Kibibytes>| {
            sum.add(Value::size(size.and_then(Kibibytes::bytes)).as_sum());
        };
        add(&mut self.swap, mapping.swap);
        add(&mut self.uss, mapping.uss());
        add(&mut self.pss, mapping.pss);
        add(&mut self.rss, Some(mapping.rss));
        add(&mut self.vsize, Some(mapping.size));
    }

    /// Returns the mean over the processes.
    fn mean(&self, sum: Sum) -> Value {
        Value::size(sum.known.and_then(|bytes| bytes.checked_div(self.processes as u64)))
    }
}
