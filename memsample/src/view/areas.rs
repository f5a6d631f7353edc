//! The areas of the machine's memory.

use super::by::By;
use super::column::{Column, columns};
use super::table::Table;
use super::value::Value;
use crate::parse::Meminfo;
use crate::units::Kibibytes;

/// Makes a row of each area of the machine's memory. They are disjoint, and their sum is all of it.
///
/// smem counts shared memory and tmpfs as cache that can be reclaimed, which it cannot, so its numbers
/// differ by as much.
pub(super) fn table(meminfo: &Meminfo) -> Table {
    let columns = columns(By::System);
    let rows = areas(meminfo).into_iter().map(|(area, used, cache)| {
        let noncache = used.zip(cache).and_then(|(used, cache)| used.checked_sub(cache));
        let value = |column: &Column| match column.name {
            "area" => Value::Text(area.to_owned()),
            "used_bytes" => Value::size(used),
            "cache_bytes" => Value::size(cache),
            _ => Value::size(noncache),
        };
        columns.iter().map(value).collect()
    });
    Table { columns, rows: rows.collect() }
}

/// Returns the areas with their size, and how much of it the kernel can reclaim without swap, in bytes.
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
    // An old kernel does not count all areas separately: the rest is in here.
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
