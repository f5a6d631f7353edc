//! What processes map, added up by name.

use std::collections::{BTreeMap, HashMap};

use memsample::parse::{Mapping, Smaps};
use memsample::units::Kibibytes;

use super::table::{Sum, Value};

/// The mappings of all processes.
#[derive(Default)]
pub(super) struct Mapped {
    by_path: HashMap<Vec<u8>, Sums>,
    /// Processes so far.
    processes: usize,
    /// Processes whose mappings could not be read.
    pub(super) unreadable: usize,
    /// Processes that are too large to be asked.
    pub(super) large: usize,
}

/// What is known of one file, or of other memory with one name, over all processes.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) processes: usize,
    pub(super) mappings: usize,
    pub(super) swap: Sum,
    pub(super) uss: Sum,
    pub(super) pss: Sum,
    pub(super) rss: Sum,
    pub(super) vsize: Sum,
    /// Which of the processes was counted last.
    last_process: usize,
}

impl Mapped {
    /// Adds the mappings of a process, or none of them if one cannot be understood.
    pub(super) fn add(&mut self, mappings: Smaps<'_>) {
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

    /// Returns the sums by what a person calls what is mapped.
    pub(super) fn into_names(self) -> BTreeMap<String, Sums> {
        let name = |path: &[u8]| match path {
            b"" => "[anonymous]".to_owned(),
            path => memsample::text(path),
        };
        self.by_path.into_iter().map(|(path, sums)| (name(&path), sums)).collect()
    }
}

impl Sums {
    fn add(&mut self, process: usize, mapping: &Mapping<'_>) {
        self.processes +=
            usize::from(std::mem::replace(&mut self.last_process, process) != process);
        self.mappings += 1;
        let add = |sum: &mut Sum, size: Option<Kibibytes>| {
            sum.add(Value::size(size.and_then(Kibibytes::bytes)).as_sum());
        };
        add(&mut self.swap, mapping.swap);
        add(&mut self.uss, mapping.uss());
        add(&mut self.pss, Some(mapping.pss));
        add(&mut self.rss, Some(mapping.rss));
        add(&mut self.vsize, Some(mapping.size));
    }

    /// Returns the mean over the processes.
    pub(super) fn mean(&self, sum: Sum) -> Value {
        Value::size(sum.known.and_then(|bytes| bytes.checked_div(self.processes as u64)))
    }
}
