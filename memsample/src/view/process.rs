//! One process, and the rows of processes and of groups of them.

use std::collections::BTreeMap;

use super::by::By;
use super::column::{Column, columns};
use super::table::Table;
use super::value::{Sum, Value};
use crate::metric::Metric;

/// One process, live or recorded. What is not known is `None`.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) ppid: Option<i32>,
    pub(super) uid: Option<u32>,
    /// The name of the user, or the number where there is no name.
    pub(super) user: Option<String>,
    pub(super) comm: String,
    pub(super) command: Option<String>,
    pub(super) role: Option<String>,
    pub(super) cgroup: Option<String>,
    /// The number of its mappings.
    pub(super) maps: Option<usize>,
    pub(super) metrics: [Option<u64>; Metric::COUNT],
    /// The age of PSS, in milliseconds; `None` where it is not known.
    pub(super) pss_age_ms: Option<u64>,
    /// The age of what `status` says, likewise.
    pub(super) detail_age_ms: Option<u64>,
}

impl Process {
    fn get(&self, metric: Metric) -> Option<u64> {
        self.metrics.get(metric as usize).copied().flatten()
    }
}

/// Makes a row of each process.
pub(super) fn table(processes: &[Process]) -> Table {
    let columns = columns(By::Process);
    let row = |process: &Process| {
        let value = |column: &Column| match column.name {
            "pid" => Value::Number(process.pid.into()),
            "ppid" => Value::number(process.ppid),
            "user" => Value::text(process.user.as_deref()),
            "uid" => Value::number(process.uid),
            "comm" => Value::Text(process.comm.clone()),
            "role" => Value::text(process.role.as_deref()),
            "cgroup" => Value::text(process.cgroup.as_deref()),
            "command" => match process.command.as_deref() {
                Some(command) => Value::Text(command.to_owned()),
                None => Value::Absent(format!("[{}]", process.comm)),
            },
            "pss_age_ms" => Value::age(process.pss_age_ms),
            "detail_age_ms" => Value::age(process.detail_age_ms),
            "maps" => process.maps.map_or(Value::Unknown, Value::count),
            _ => Value::size(column.metric().and_then(|metric| process.get(metric))),
        };
        columns.iter().map(value).collect()
    };
    Table { columns, rows: processes.iter().map(row).collect() }
}

/// Makes a row of each user, control group or role: the sums over its processes.
pub(super) fn table_of_groups(processes: &[Process], by: By) -> Table {
    let columns = columns(by);
    let mut groups: BTreeMap<Option<&str>, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        let key = match by {
            By::User => process.user.as_deref(),
            By::Cgroup => process.cgroup.as_deref(),
            _ => process.role.as_deref(),
        };
        groups.entry(key).or_default().push(process);
    }
    let row = |(key, processes): (Option<&str>, Vec<&Process>)| {
        let value = |column: &Column| match column.name {
            "user" | "cgroup" | "role" => Value::text(key),
            "uid" => Value::number(processes.first().and_then(|process| process.uid)),
            "processes" => Value::count(processes.len()),
            "pss_age_ms" => Value::age(processes.iter().filter_map(|it| it.pss_age_ms).max()),
            "detail_age_ms" => Value::age(processes.iter().filter_map(|it| it.detail_age_ms).max()),
            _ => {
                let mut sum = Sum::default();
                for process in &processes {
                    let bytes = column.metric().and_then(|metric| process.get(metric));
                    sum.add(Value::size(bytes).as_sum());
                }
                Value::Sum(sum)
            }
        };
        columns.iter().map(value).collect()
    };
    Table { columns, rows: groups.into_iter().map(row).collect() }
}
