//! Rows and columns, whatever they stand for: choosing, sorting, adding up.

use std::cmp::Ordering;

use anyhow::bail;
use memsample::Metric;

use super::By;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A number that only tells things apart.
    Id,
    Count,
    /// Bytes.
    Size,
}

/// A column of a view. The names are part of the interface: see README.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// The key in JSON and the header in CSV, which ends in the unit.
    pub(super) name: &'static str,
    /// What a person types and reads.
    pub(super) short: &'static str,
    /// What smem calls it, where that is another word.
    smem: Option<&'static str>,
    pub(super) kind: Kind,
    /// Where the row is a sum that may lack processes, the column that says how many.
    pub(super) unknown: Option<&'static str>,
    /// Whether a sum over all rows means anything.
    pub(super) adds_up: bool,
    /// Whether a person sees it who chose no columns.
    in_text: bool,
    /// The same for a program.
    in_machine: bool,
}

impl Column {
    const fn new(name: &'static str, short: &'static str, kind: Kind) -> Self {
        let adds_up = matches!(kind, Kind::Size);
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

    /// Returns what is measured of a process for this column.
    pub(super) fn metric(&self) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == self.name)
    }

    /// Returns what stands above the column.
    pub(super) fn title(&self) -> String {
        self.short.to_uppercase().replace('_', " ")
    }

    fn is_called(&self, name: &str) -> bool {
        [Some(self.name), Some(self.short), self.smem].contains(&Some(name))
    }
}

use Kind::{Count, Id, Size, Text};

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
    Column::new("command", "command", Text).shown(),
];

/// The columns of a group behind what it is called.
const GROUP: [Column; 9] = [
    Column::new("processes", "processes", Count).in_smem("count").adding_up(true).shown(),
    Column::new("swap_bytes", "swap", Size).unknown("swap_unknown_processes").shown(),
    Column::new("uss_bytes", "uss", Size).unknown("uss_unknown_processes").shown(),
    Column::new("pss_bytes", "pss", Size).unknown("pss_unknown_processes").shown(),
    Column::new("rss_bytes", "rss", Size).unknown("rss_unknown_processes").shown(),
    Column::new("vsize_bytes", "vsize", Size).in_smem("vss").unknown("vsize_unknown_processes"),
    Column::new("anon_bytes", "anon", Size).unknown("anon_unknown_processes"),
    Column::new("file_bytes", "file", Size).unknown("file_unknown_processes"),
    Column::new("shmem_bytes", "shmem", Size).unknown("shmem_unknown_processes"),
];

const USER: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem] = GROUP;
    let user = Column::new("user", "user", Text).shown();
    let uid = Column::new("uid", "uid", Id);
    &[user, uid, processes, swap, uss, pss, rss, vsize, anon, file, shmem]
};

// The name stands last where it can be long, so that what is long does not move the numbers.
const CGROUP: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem] = GROUP;
    let cgroup = Column::new("cgroup", "cgroup", Text).shown();
    &[processes, swap, uss, pss, rss, vsize, anon, file, shmem, cgroup]
};

const ROLE: &[Column] = {
    let [processes, swap, uss, pss, rss, vsize, anon, file, shmem] = GROUP;
    let role = Column::new("role", "role", Text).shown();
    &[processes, swap, uss, pss, rss, vsize, anon, file, shmem, role]
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

/// Returns the columns of a view.
pub(super) const fn columns(by: By) -> &'static [Column] {
    match by {
        By::Process => PROCESS,
        By::User => USER,
        By::Mapping => MAPPING,
        By::System => SYSTEM,
        By::Cgroup => CGROUP,
        By::Role => ROLE,
    }
}

/// Returns the column that a person calls `name`.
pub(super) fn column(by: By, name: &str) -> anyhow::Result<Column> {
    let columns = columns(by);
    let Some(column) = columns.iter().find(|column| column.is_called(name.trim())) else {
        let known: Vec<_> = columns.iter().map(|column| column.short).collect();
        let by = clap::ValueEnum::to_possible_value(&by);
        let by = by.map_or_else(String::new, |by| by.get_name().to_owned());
        bail!("no column `{name}` in `--by {by}`, which has {}", known.join(", "));
    };
    Ok(*column)
}

/// Returns the columns to print: those that are named, or the usual ones.
pub(super) fn choose(
    by: By,
    names: Option<&[String]>,
    machine: bool,
) -> anyhow::Result<Vec<Column>> {
    match names {
        Some(names) => names.iter().map(|name| column(by, name)).collect(),
        None => {
            let usual = |column: &&Column| if machine { column.in_machine } else { column.in_text };
            Ok(columns(by).iter().filter(usual).copied().collect())
        }
    }
}

/// What stands in one row of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// Nothing, and what a person reads instead.
    Absent(String),
    Number(i64),
    Size(u64),
    /// The sum over the processes of which the number is known, and how many of the others there are.
    Sum(Sum),
    Unknown,
}

impl Value {
    pub(super) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.to_owned()))
    }

    pub(super) fn number(number: Option<impl Into<i64>>) -> Self {
        number.map_or(Self::Unknown, |number| Self::Number(number.into()))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn size(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Unknown, Self::Size)
    }

    /// Returns what the value is worth in a sum.
    pub(super) fn as_sum(&self) -> Sum {
        match self {
            Self::Sum(sum) => *sum,
            Self::Size(bytes) => Sum { known: Some(*bytes), unknown: 0 },
            Self::Number(number) => Sum { known: u64::try_from(*number).ok(), unknown: 0 },
            Self::Text(_) | Self::Absent(_) | Self::Unknown => Sum { known: None, unknown: 1 },
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown | Self::Sum(Sum { known: None, .. }))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one) | Self::Absent(one), Self::Text(other) | Self::Absent(other)) => {
                one.cmp(other)
            }
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (one, other) => one.as_sum().known.cmp(&other.as_sum().known),
        }
    }
}

/// A sum that knows what it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// `None` where nothing is known.
    pub(super) known: Option<u64>,
    /// How many processes it lacks.
    pub(super) unknown: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.known = match (self.known, other.known) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

/// The rows of a view, each with a value for each of its columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Value>>,
}

impl Table {
    /// Returns the values of a row in the order of `chosen`.
    pub(super) fn values<'a>(
        &self,
        row: &'a [Value],
        chosen: &[Column],
    ) -> impl Iterator<Item = &'a Value> {
        let value = |column: &Column| {
            let index = self.columns.iter().position(|known| known.name == column.name);
            index.and_then(|index| row.get(index)).unwrap_or(&Value::Unknown)
        };
        chosen.iter().map(value).collect::<Vec<_>>().into_iter()
    }

    /// Returns the values of a column.
    pub(super) fn values_of(&self, column: &Column) -> impl Iterator<Item = &Value> {
        let index = self.columns.iter().position(|known| known.name == column.name);
        self.rows.iter().filter_map(move |row| row.get(index?))
    }

    /// Sorts the rows by a column: numbers largest first, words from A to Z, and what is unknown last.
    ///
    /// Rows that are equal there stay in their order.
    pub(super) fn sort(&mut self, by: &Column, reverse: bool) {
        let Some(index) = self.columns.iter().position(|column| column.name == by.name) else {
            return;
        };
        let descending = matches!(by.kind, Kind::Count | Kind::Size) != reverse;
        self.rows.sort_by(|one, other| {
            let (Some(one), Some(other)) = (one.get(index), other.get(index)) else {
                return Ordering::Equal;
            };
            let order = one.compare(other);
            let order = if descending { order.reverse() } else { order };
            one.is_unknown().cmp(&other.is_unknown()).then(order)
        });
    }

    /// Returns the column that is sorted by unless another is chosen: PSS, or RSS where no PSS is
    /// known. The areas of the machine have an order of their own.
    pub(super) fn usual_order(&self) -> Option<&'static Column> {
        let known = |column: &&Column| self.values_of(column).any(|value| !value.is_unknown());
        let named = |name| self.columns.iter().find(|column| column.name == name);
        named("pss_bytes").filter(known).or_else(|| named("rss_bytes"))
    }

    /// Returns the sum over all rows of a column.
    pub(super) fn total(&self, column: &Column) -> Option<Sum> {
        let nothing = self.rows.is_empty().then_some(0);
        let mut total = Sum { known: nothing, unknown: 0 };
        self.values_of(column).for_each(|value| total.add(value.as_sum()));
        column.adds_up.then_some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(known: Option<u64>, unknown: u64) -> Sum {
        Sum { known, unknown }
    }

    #[test]
    fn a_sum_says_what_it_lacks() {
        let mut total = Sum::default();
        for value in [Value::Size(3), Value::Unknown, Value::Sum(sum(Some(4), 2))] {
            total.add(value.as_sum());
        }
        assert_eq!(total, sum(Some(7), 3));
        let mut nothing = Sum::default();
        nothing.add(Value::Unknown.as_sum());
        assert_eq!(nothing, sum(None, 1));
    }

    #[test]
    fn unknown_values_come_last_in_any_order() {
        let rows = [Value::Size(1), Value::Unknown, Value::Size(3), Value::Sum(sum(Some(2), 1))];
        const COLUMNS: &[Column] = &[Column::new("pss_bytes", "pss", Size)];
        let mut table = Table {
            columns: COLUMNS,
            rows: rows.iter().map(|value| vec![value.clone()]).collect(),
        };
        let by = table.usual_order().unwrap();
        let order = |table: &Table| -> Vec<_> {
            table.rows.iter().map(|row| row[0].as_sum().known).collect()
        };
        table.sort(by, false);
        assert_eq!(order(&table), [Some(3), Some(2), Some(1), None]);
        table.sort(by, true);
        assert_eq!(order(&table), [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn no_name_means_two_columns() {
        for by in [By::Process, By::User, By::Mapping, By::System, By::Cgroup, By::Role] {
            for column in columns(by) {
                for name in [column.name, column.short].into_iter().chain(column.smem) {
                    assert_eq!(super::column(by, name).unwrap(), *column, "{name} in {by:?}");
                }
            }
        }
    }
}
