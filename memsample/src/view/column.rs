//! The columns of each view.

use super::by::By;
use crate::metric::Metric;

/// Returns all columns of a view.
#[must_use]
pub const fn columns(by: By) -> &'static [Column] {
    match by {
        By::Process => PROCESS,
        By::User => USER,
        By::Mapping => MAPPING,
        By::System => SYSTEM,
        By::Cgroup => CGROUP,
        By::Role => ROLE,
    }
}

/// Returns the column with this name, its short name or its name in smem.
#[must_use]
pub fn column(by: By, name: &str) -> Option<&'static Column> {
    columns(by).iter().find(|column| column.is_called(name))
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A text.
    Text,
    /// A number that identifies something.
    Id,
    /// A count.
    Count,
    /// A size in bytes.
    Size,
    /// A time since something was read, in milliseconds.
    Age,
}

/// A column of a view. The names are part of the interface of `memsample view`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The key in JSON and the header in CSV, which ends in the unit.
    pub name: &'static str,
    /// The name that a person types and reads.
    pub short: &'static str,
    /// The name in smem, where it differs.
    smem: Option<&'static str>,
    /// What the column holds.
    pub kind: ColumnKind,
    /// Where the row is a sum: the key of the number of processes that it lacks.
    pub unknown: Option<&'static str>,
    /// Whether a sum over all rows means anything.
    pub adds_up: bool,
    /// Whether it is printed by default for a person.
    in_text: bool,
    /// Whether it is printed by default for a program.
    pub(super) in_machine: bool,
}

impl Column {
    pub(super) const fn new(name: &'static str, short: &'static str, kind: ColumnKind) -> Self {
        let adds_up = matches!(kind, ColumnKind::Size);
        Self {
            name,
            short,
            smem: None,
            kind,
            unknown: None,
            adds_up,
            in_text: false,
            in_machine: true,
        }
    }

    const fn shown(self) -> Self {
        Self { in_text: true, ..self }
    }

    const fn in_smem(self, name: &'static str) -> Self {
        Self { smem: Some(name), ..self }
    }

    const fn unknown(self, name: &'static str) -> Self {
        Self { unknown: Some(name), ..self }
    }

    const fn adding_up(self, adds_up: bool) -> Self {
        Self { adds_up, ..self }
    }

    const fn only_if_chosen(self) -> Self {
        Self { in_machine: false, ..self }
    }

    /// Returns the metric of a process that the column shows.
    #[must_use]
    pub fn metric(&self) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == self.name)
    }

    /// Returns the header that a person reads.
    #[must_use]
    pub fn title(&self) -> String {
        self.short.to_uppercase().replace('_', " ")
    }

    /// Returns whether the column is shown to a person who chose none.
    #[must_use]
    pub fn is_default_for_a_person(&self) -> bool {
        self.in_text
    }

    /// Returns whether the column is printed for a program that chose none.
    #[must_use]
    pub fn is_default_for_a_program(&self) -> bool {
        self.in_machine
    }

    fn is_called(&self, name: &str) -> bool {
        [Some(self.name), Some(self.short), self.smem].contains(&Some(name))
    }
}

use ColumnKind::{Age, Count, Id, Size, Text};

const PROCESS: &[Column] = &[
    Column::new("pid", "pid", Id).shown(),
    Column::new("ppid", "ppid", Id),
    Column::new("user", "user", Text).shown(),
    Column::new("uid", "uid", Id),
    Column::new("comm", "comm", Text).in_smem("name"),
    Column::new("role", "role", Text),
    Column::new("cgroup", "cgroup", Text),
    Column::new("maps", "maps", Count).only_if_chosen().adding_up(true),
    Column::new("swap_bytes", "swap", Size).shown(),
    Column::new("swap_pss_bytes", "swap_pss", Size),
    Column::new("uss_bytes", "uss", Size).shown(),
    Column::new("pss_bytes", "pss", Size).shown(),
    Column::new("rss_bytes", "rss", Size).shown(),
    Column::new("vsize_bytes", "vsize", Size).in_smem("vss"),
    Column::new("anon_bytes", "anon", Size),
    Column::new("file_bytes", "file", Size),
    Column::new("shmem_bytes", "shmem", Size),
    // The peaks were at different times.
    Column::new("hwm_bytes", "hwm", Size).adding_up(false),
    Column::new("hugetlb_bytes", "hugetlb", Size),
    PSS_AGE,
    DETAIL_AGE,
    Column::new("command", "command", Text).shown(),
];

/// The age of PSS, USS and the proportional share of swap, which come from one file; of a group, that of the
/// oldest.
const PSS_AGE: Column = Column::new("pss_age_ms", "pss_age", Age);

/// The age of file, shared and swapped memory and of the high-water mark, likewise.
const DETAIL_AGE: Column = Column::new("detail_age_ms", "detail_age", Age);

/// The columns of a group beside its name.
const GROUP: [Column; 11] = [
    Column::new("processes", "processes", Count).in_smem("count").adding_up(true).shown(),
    Column::new("swap_bytes", "swap", Size).unknown("swap_unknown_processes").shown(),
    Column::new("uss_bytes", "uss", Size).unknown("uss_unknown_processes").shown(),
    Column::new("pss_bytes", "pss", Size).unknown("pss_unknown_processes").shown(),
    Column::new("rss_bytes", "rss", Size).unknown("rss_unknown_processes").shown(),
    Column::new("vsize_bytes", "vsize", Size).in_smem("vss").unknown("vsize_unknown_processes"),
    Column::new("anon_bytes", "anon", Size).unknown("anon_unknown_processes"),
    Column::new("file_bytes", "file", Size).unknown("file_unknown_processes"),
    Column::new("shmem_bytes", "shmem", Size).unknown("shmem_unknown_processes"),
    PSS_AGE,
    DETAIL_AGE,
];

const USER: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age] = GROUP;
    let user = Column::new("user", "user", Text).shown();
    let uid = Column::new("uid", "uid", Id);
    &[user, uid, processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age]
};

// A name that can be long is last, so that it does not move the numbers.
const CGROUP: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age] = GROUP;
    let cgroup = Column::new("cgroup", "cgroup", Text).shown();
    &[processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age, cgroup]
};

const ROLE: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age] = GROUP;
    let role = Column::new("role", "role", Text).shown();
    &[processes, swap, uss, pss, rss, vsize, anon, file, shmem, pss_age, detail_age, role]
};

const MAPPING: &[Column] = &[
    // A process has many mappings, so their processes do not add up.
    Column::new("processes", "processes", Count).in_smem("pids").shown(),
    Column::new("mappings", "mappings", Count).in_smem("count").adding_up(true).shown(),
    Column::new("swap_bytes", "swap", Size).shown(),
    Column::new("uss_bytes", "uss", Size).shown(),
    Column::new("pss_bytes", "pss", Size).shown(),
    Column::new("rss_bytes", "rss", Size).shown(),
    Column::new("vsize_bytes", "vsize", Size).in_smem("vss"),
    Column::new("uss_mean_bytes", "uss_mean", Size).in_smem("avguss").adding_up(false),
    Column::new("pss_mean_bytes", "pss_mean", Size).in_smem("avgpss").adding_up(false),
    Column::new("rss_mean_bytes", "rss_mean", Size).in_smem("avgrss").adding_up(false),
    Column::new("mapping", "mapping", Text).in_smem("map").shown(),
];

const SYSTEM: &[Column] = &[
    Column::new("area", "area", Text).shown(),
    Column::new("used_bytes", "used", Size).shown(),
    Column::new("cache_bytes", "cache", Size).shown(),
    Column::new("noncache_bytes", "noncache", Size).shown(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_columns() {
        for by in [By::Process, By::User, By::Mapping, By::System, By::Cgroup, By::Role] {
            for known in columns(by) {
                for name in [known.name, known.short].into_iter().chain(known.smem) {
                    assert_eq!(column(by, name), Some(known), "{name} in {by:?}");
                }
            }
        }
    }
}
