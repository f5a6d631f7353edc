//! From processes to the rows of each view.

use std::collections::BTreeMap;

use anyhow::Context;
use memsample::parse::Meminfo;
use memsample::units::Kibibytes;

use super::By;
use super::mapped::{Mapped, Sums};
use super::population::{Population, Process};
use super::table::{self, Column, Sum, Table, Value};

/// Makes a row of each process.
pub(super) fn by_process(population: &Population) -> Table {
    let columns = table::columns(By::Process);
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
            "maps" => process.maps.map_or(Value::Unknown, Value::count),
            _ => Value::size(column.metric().and_then(|metric| process.get(metric))),
        };
        columns.iter().map(value).collect()
    };
    let rows = population.processes.iter().map(row).collect();
    Table { columns, rows }
}

/// Makes a row of each user, control group or role: the sums over its processes.
pub(super) fn by_group(population: &Population, by: By) -> Table {
    let columns = table::columns(by);
    let mut groups: BTreeMap<Option<&str>, Vec<&Process>> = BTreeMap::new();
    for process in &population.processes {
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
    let rows = groups.into_iter().map(row).collect();
    Table { columns, rows }
}

/// Makes a row of each file and of each other name that is mapped.
pub(super) fn by_mapping(mapped: Mapped) -> Table {
    let columns = table::columns(By::Mapping);
    let row = |(mapping, mapped): (String, Sums)| {
        let value = |column: &Column| match column.name {
            "processes" => Value::count(mapped.processes),
            "mappings" => Value::count(mapped.mappings),
            "swap_bytes" => Value::size(mapped.swap.known),
            "uss_bytes" => Value::size(mapped.uss.known),
            "pss_bytes" => Value::size(mapped.pss.known),
            "rss_bytes" => Value::size(mapped.rss.known),
            "vsize_bytes" => Value::size(mapped.vsize.known),
            "uss_mean_bytes" => mapped.mean(mapped.uss),
            "pss_mean_bytes" => mapped.mean(mapped.pss),
            "rss_mean_bytes" => mapped.mean(mapped.rss),
            _ => Value::Text(mapping.clone()),
        };
        columns.iter().map(value).collect()
    };
    let rows = mapped.into_names().into_iter().map(row).collect();
    Table { columns, rows }
}

/// Makes a row of each area of the machine's memory. They are disjoint, and their sum is all of it.
///
/// smem takes shared memory and tmpfs for cache that can be reclaimed, which it cannot, and so is off
/// by as much.
pub(super) fn by_system(population: &Population) -> anyhow::Result<Table> {
    let meminfo =
        population.meminfo.context("the memory of the machine is not known: no meminfo")?;
    let columns = table::columns(By::System);
    let rows = areas(&meminfo).into_iter().map(|(area, used, cache)| {
        let noncache = used.zip(cache).and_then(|(used, cache)| used.checked_sub(cache));
        let value = |column: &Column| match column.name {
            "area" => Value::Text(area.to_owned()),
            "used_bytes" => Value::size(used),
            "cache_bytes" => Value::size(cache),
            _ => Value::size(noncache),
        };
        columns.iter().map(value).collect()
    });
    Ok(Table { columns, rows: rows.collect() })
}

/// Returns the areas with how much memory they have, in bytes, and how much of that the kernel could
/// take away without writing it anywhere but to the file that it is from.
fn areas(meminfo: &Meminfo) -> [(&'static str, Option<u64>, Option<u64>); 9] {
    let bytes = |size: Option<Kibibytes>| size.and_then(Kibibytes::bytes);
    let total = bytes(meminfo.mem_total);
    let anonymous = bytes(meminfo.anon_pages);
    let shared = bytes(meminfo.shmem);
    // `Cached` holds shared memory too.
    let files = bytes(meminfo.cached)
        .zip(shared)
        .and_then(|(cached, shared)| cached.checked_sub(shared))
        .zip(bytes(meminfo.buffers))
        .and_then(|(files, buffers)| files.checked_add(buffers));
    let reclaimable = bytes(meminfo.slab_reclaimable);
    let unreclaimable = bytes(meminfo.slab_unreclaimable);
    let stacks = bytes(meminfo.kernel_stack);
    let tables = bytes(meminfo.page_tables);
    let free = bytes(meminfo.mem_free);
    // What an old kernel does not count apart is in here.
    let known = [anonymous, shared, files, reclaimable, unreclaimable, stacks, tables, free];
    let known = known.into_iter().flatten().try_fold(0_u64, u64::checked_add);
    let other = total.zip(known).and_then(|(total, known)| total.checked_sub(known));
    let none = |used: Option<u64>| used.map(|_| 0);
    [
        ("programs: heap, stack, private data", anonymous, none(anonymous)),
        ("shared memory and tmpfs", shared, none(shared)),
        ("files, mapped or only cached", files, files),
        ("kernel: slab, reclaimable", reclaimable, reclaimable),
        ("kernel: slab", unreclaimable, none(unreclaimable)),
        ("kernel: stacks of threads", stacks, none(stacks)),
        ("kernel: page tables", tables, none(tables)),
        ("kernel: other", other, none(other)),
        ("free", free, free),
    ]
}
